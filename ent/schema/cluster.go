package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/manorhq/manor/controlplane"
)

// Cluster is a PostgreSQL server that homes are made on. Room: fleet.
type Cluster struct{ ent.Schema }

// Fields of a cluster.
func (Cluster) Fields() []ent.Field {
	return []ent.Field{
		id(),
		field.String("name").SchemaType(textColumn).NotEmpty().Unique(),
		field.JSON("address", controlplane.Address{}),
		field.JSON("app_address", &controlplane.Address{}).Optional(),
		text("login"),
		sealed("sealed_password"),
		field.JSON("tls", controlplane.TLS{}),
		word("region"),
		field.JSON("labels", controlplane.Labels{}).Annotations(entsql.DefaultExpr("'{}'::jsonb")),
		field.Int("capacity").Default(0),
		field.Int("density").Default(controlplane.DefaultDensity),
		field.Int("connections").Default(0),
		field.Int("max_connections").Default(0),
		field.JSON("flow", controlplane.Flow{}).Annotations(entsql.DefaultExpr("'{}'::jsonb")),
		field.JSON("extensions", []string{}).Annotations(entsql.DefaultExpr("'[]'::jsonb")),
		field.String("state").GoType(controlplane.ClusterState("")).SchemaType(textColumn).Default(string(controlplane.ClusterActive)),
		field.Int("server_version").Default(0),
		word("system_id"),
		field.JSON("skipped", []string{}).Annotations(entsql.DefaultExpr("'[]'::jsonb")),
		createdAt(),
		updatedAt(),
	}
}

// Annotations of a cluster.
func (Cluster) Annotations() []schema.Annotation {
	return []schema.Annotation{
		oneOf("state", controlplane.ClusterStates...),
		atLeast("capacity", "0"),
		atLeast("density", "1"),
	}
}

// Database is a database that Manor made on a cluster: shared by tenants, one
// tenant's own, or scratch. Room: fleet.
type Database struct{ ent.Schema }

// Fields of a database.
func (Database) Fields() []ent.Field {
	return []ent.Field{
		id(),
		reference("cluster_id"),
		text("name"),
		text("isolation"),
		text("owner"),
		text("connect_role"),
		sealed("sealed_password"),
		field.String("state").SchemaType(textColumn).Default("creating"),
		field.Int("homes").Default(0).Comment("homes reserved or made in it"),
		createdAt(),
	}
}

// Indexes of a database.
func (Database) Indexes() []ent.Index {
	return []ent.Index{index.Fields("cluster_id", "name").Unique()} // also finds those of a cluster
}

// Annotations of a database.
func (Database) Annotations() []schema.Annotation {
	return []schema.Annotation{
		oneOf("isolation", string(controlplane.IsolationSchema), string(controlplane.IsolationDatabase), "scratch"),
		oneOf("state", "creating", "ready", "dropping", "dropped"),
		atLeast("homes", "0"),
	}
}

// Snapshot is a copy of a tenant's own database, taken before a rollout changed
// it; its id is the copy's name. The row outlives the copy: there is one per
// tenant and rollout. Room: fleet.
type Snapshot struct{ ent.Schema }

// Fields of a snapshot.
func (Snapshot) Fields() []ent.Field {
	return []ent.Field{
		id(),
		reference("rollout_id"),
		reference("tenant_id"),
		reference("cluster_id"),
		reference("database_id"),
		text("replaced"), // what the database is called once the copy has taken its place
		field.String("state").SchemaType(textColumn).Default("taking"),
		field.Int64("bytes").Default(0),
		field.Time("taken_at").Optional().Nillable(),
		field.Time("expires_at").Optional().Nillable(),
		createdAt(),
		updatedAt(),
	}
}

// Indexes of a snapshot. The partial one finds what is there.
func (Snapshot) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("rollout_id", "tenant_id").Unique(),
		index.Fields("database_id").Annotations(entsql.IndexWhere("state <> 'gone'")),
	}
}

// Annotations of a snapshot.
func (Snapshot) Annotations() []schema.Annotation {
	return []schema.Annotation{oneOf("state", "taking", "made", "restoring", "dropping", "gone")}
}
