package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/manorhq/manor/controlplane"
)

// Tenant is a customer whose data has a home of its own. Room: tenant.
type Tenant struct{ ent.Schema }

// Fields of a tenant.
func (Tenant) Fields() []ent.Field {
	return []ent.Field{
		id(),
		field.String("slug").SchemaType(textColumn).NotEmpty().Immutable(),
		field.String("external_id").SchemaType(textColumn).Optional().Nillable(),
		field.String("state").GoType(controlplane.TenantState("")).SchemaType(textColumn).Default(string(controlplane.TenantProvisioning)),
		field.Bool("settled").Default(false).Comment("the cluster has been brought to state"),
		field.String("isolation").GoType(controlplane.Isolation("")).SchemaType(textColumn).Immutable(),
		word("tier"),
		word("region"),
		field.JSON("labels", controlplane.Labels{}).Annotations(entsql.DefaultExpr("'{}'::jsonb")),
		word("version"),
		word("release_id"),
		word("fingerprint"), // of its schema at this version; empty: not looked at
		field.JSON("failure", &controlplane.Failure{}).Optional(),
		field.JSON("pin", &controlplane.Pin{}).Optional(),
		word("worker"), // that has it in hand, or had when it died
		field.Time("taken_at").Optional().Nillable(),
		field.Time("wanted_at").Default(now).Annotations(entsql.DefaultExpr("now()")).Comment("since when it is to be in its state"),
		createdAt(),
		updatedAt(),
	}
}

// Indexes of a tenant. A deleted tenant is a tombstone: its slug and external
// id may be taken again.
func (Tenant) Indexes() []ent.Index {
	living := entsql.IndexWhere("state <> 'deleted'")
	return []ent.Index{
		index.Fields("slug").Unique().Annotations(living),
		index.Fields("external_id").Unique().Annotations(living),
		index.Fields("state"),
		index.Fields("version"),
		index.Fields("updated_at").StorageKey("tenant_unsettled").Annotations(entsql.IndexWhere("NOT settled")),
	}
}

// Annotations of a tenant.
func (Tenant) Annotations() []schema.Annotation {
	return []schema.Annotation{
		oneOf("state", controlplane.TenantStates...),
		oneOf("isolation", controlplane.Isolations...),
	}
}

// Placement says where a tenant's home is. Room: tenant.
type Placement struct{ ent.Schema }

// Fields of a placement. Physical names are never reused, so schema, which is
// also the stem of the roles' names, is unique for ever.
func (Placement) Fields() []ent.Field {
	return []ent.Field{
		field.String("tenant_id").SchemaType(textColumn).NotEmpty().Unique(),
		reference("cluster_id"),
		reference("database_id"),
		field.String("schema").SchemaType(textColumn).NotEmpty().Unique(),
		text("role"),
		field.JSON("logins", controlplane.Logins{}),
		field.Int64("generation").Default(1),
		createdAt(),
		updatedAt(),
	}
}

// Indexes of a placement.
func (Placement) Indexes() []ent.Index {
	return []ent.Index{index.Fields("cluster_id"), index.Fields("database_id")}
}

// Annotations of a placement.
func (Placement) Annotations() []schema.Annotation {
	return []schema.Annotation{atLeast("generation", "1")}
}

// Credential is the password of one login of a tenant. Room: credential.
type Credential struct{ ent.Schema }

// Fields of a credential.
func (Credential) Fields() []ent.Field {
	return []ent.Field{
		reference("tenant_id"),
		field.String("login").SchemaType(textColumn).NotEmpty().Unique(),
		text("slot"),
		sealed("sealed_password"),
		createdAt(),
	}
}

// Indexes of a credential.
func (Credential) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "slot").Unique()}
}

// Annotations of a credential.
func (Credential) Annotations() []schema.Annotation {
	return []schema.Annotation{oneOf("slot", "a", "b")}
}
