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
