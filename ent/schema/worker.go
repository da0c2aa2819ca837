package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
)

// Worker is a process on this catalog that is alive, or was a moment ago.
// Package work.
type Worker struct{ ent.Schema }

// Fields of a worker.
func (Worker) Fields() []ent.Field {
	return []ent.Field{
		id(),
		word("version"),
		field.Bool("works").Default(true).Comment("it works jobs, and does not only answer a command"),
		happenedAt("started_at"),
		field.Time("seen_at").Default(time.Now).Annotations(entsql.DefaultExpr("now()")),
	}
}

// Allotment is how many connections to a cluster one process may have open.
// Those of all living processes stay within the cluster's. Room: fleet.
type Allotment struct{ ent.Schema }

// Fields of an allotment.
func (Allotment) Fields() []ent.Field {
	return []ent.Field{
		reference("worker_id"),
		reference("cluster_id"),
		field.Int("connections").Default(0),
	}
}

// Indexes of an allotment.
func (Allotment) Indexes() []ent.Index {
	return []ent.Index{index.Fields("cluster_id", "worker_id").Unique()}
}

// Annotations of an allotment.
func (Allotment) Annotations() []schema.Annotation {
	return []schema.Annotation{atLeast("connections", "0")}
}
