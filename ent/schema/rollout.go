package schema

import (
	"encoding/json"

	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/manorhq/manor/controlplane"
)

// Release is an immutable migration directory. Room: release.
type Release struct{ ent.Schema }

// Fields of a release.
func (Release) Fields() []ent.Field {
	return []ent.Field{
		id(),
		field.String("name").SchemaType(textColumn).NotEmpty().Unique().Immutable(),
		field.String("hash").SchemaType(textColumn).NotEmpty().Unique().Immutable(),
		field.Bytes("archive").Immutable(),
		field.JSON("versions", []controlplane.Version{}),
		field.JSON("extensions", []string{}).Annotations(entsql.DefaultExpr("'[]'::jsonb")),
		field.JSON("reverses", json.RawMessage{}).Optional(),
		text("created_by"),
		createdAt(),
	}
}

// Rollout is one run that takes a selection of tenants to one version. Room: rollout.
type Rollout struct{ ent.Schema }

// Fields of a rollout.
func (Rollout) Fields() []ent.Field {
	return []ent.Field{
		id(),
		field.String("state").GoType(controlplane.RolloutState("")).SchemaType(textColumn).Default(string(controlplane.RolloutPlanned)),
		reference("release_id"),
		text("version"),
		word("selector"),
		field.Int("batch_size"),
		field.Int("concurrency"),
		field.Int("per_cluster").Default(0),
		field.Int("per_database").Default(controlplane.DefaultPerDatabase),
		field.String("on_error").GoType(controlplane.OnError("")).SchemaType(textColumn).Default(string(controlplane.OnErrorContinue)),
		field.JSON("strategy", controlplane.Strategy{}).Annotations(entsql.DefaultExpr("'{}'::jsonb")),
		field.Int("forgiven").Default(0).Comment("failures that an operator has seen and resumed from"),
		word("reason"),
		field.String("wanted").GoType(controlplane.RolloutState("")).SchemaType(textColumn).Default("").Comment("paused or aborted, once nothing is in hand"),
		word("wanted_by"),
		text("created_by"),
		createdAt(),
		field.Time("closed_at").Optional().Nillable().Comment("tenants created later do not join it"),
		field.Time("finished_at").Optional().Nillable(),
	}
}

// Indexes of a rollout.
func (Rollout) Indexes() []ent.Index {
	return []ent.Index{index.Fields("state")}
}

// Annotations of a rollout.
func (Rollout) Annotations() []schema.Annotation {
	return []schema.Annotation{
		oneOf("state", controlplane.RolloutStates...),
		oneOf("on_error", controlplane.OnErrors...),
		atLeast("batch_size", "1"),
		atLeast("concurrency", "1"),
		atLeast("per_cluster", "0"),
		atLeast("per_database", "1"),
	}
}

// Wave is an ordered part of a rollout, as far as it has come. Room: rollout.
type Wave struct{ ent.Schema }

// Fields of a wave.
func (Wave) Fields() []ent.Field {
	return []ent.Field{
		reference("rollout_id"),
		field.Int("number").Comment("1 is the first"),
		text("name"),
		field.Time("ended_at").Optional().Nillable().Comment("its last target was done"),
		field.Time("passed_at").Optional().Nillable().Comment("the next one may begin"),
		field.JSON("gates", []controlplane.GateResult{}).Annotations(entsql.DefaultExpr("'[]'::jsonb")),
	}
}

// Indexes of a wave.
func (Wave) Indexes() []ent.Index {
	return []ent.Index{index.Fields("rollout_id", "number").Unique()}
}

// Annotations of a wave.
func (Wave) Annotations() []schema.Annotation { return []schema.Annotation{atLeast("number", "1")} }

// Strategy is one that is kept by its name. Room: rollout.
type Strategy struct{ ent.Schema }

// Fields of a strategy.
func (Strategy) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").StorageKey("name").SchemaType(textColumn).NotEmpty().Immutable(),
		field.JSON("strategy", controlplane.Strategy{}),
		text("created_by"),
		createdAt(),
		updatedAt(),
	}
}

// Plan is what a rollout would do, as it was when somebody looked. Room: rollout.
type Plan struct{ ent.Schema }

// Fields of a plan.
func (Plan) Fields() []ent.Field {
	return []ent.Field{
		id(),
		field.JSON("request", controlplane.NewRollout{}),
		field.JSON("plan", controlplane.RolloutPlan{}),
		text("fleet"), // hash of the tenants and where they were
		text("created_by"),
		createdAt(),
	}
}

// Rehearsal is what a release did in a scratch database. Room: release.
type Rehearsal struct{ ent.Schema }

// Fields of a rehearsal.
func (Rehearsal) Fields() []ent.Field {
	return []ent.Field{
		reference("release_id"),
		word("from_version"),
		text("to_version"),
		field.Int("major").Comment("of the PostgreSQL server"),
		field.JSON("report", json.RawMessage{}),
		createdAt(),
	}
}

// Indexes of a rehearsal.
func (Rehearsal) Indexes() []ent.Index {
	return []ent.Index{index.Fields("release_id", "from_version", "to_version", "major").Unique()}
}

// Shape is a schema as a release makes it of an empty one. Room: release.
type Shape struct{ ent.Schema }

// Fields of a shape.
func (Shape) Fields() []ent.Field {
	return []ent.Field{
		reference("release_id"),
		text("version"),
		field.Int("major").Comment("of the PostgreSQL server"),
		text("fingerprint"),
		field.JSON("objects", json.RawMessage{}).Comment("what it is made of"),
		createdAt(),
	}
}

// Indexes of a shape.
func (Shape) Indexes() []ent.Index {
	return []ent.Index{index.Fields("release_id", "version", "major").Unique()}
}

// Batch is the targets of a rollout in one cluster that one worker works
// through under one lease. Room: rollout.
type Batch struct{ ent.Schema }

// Fields of a batch.
func (Batch) Fields() []ent.Field {
	return []ent.Field{
		reference("rollout_id"),
		field.Int("number"),
		field.Int("wave").Default(1),
		reference("cluster_id"),
		word("database_id"), // the shared one that all its targets are in; empty: each has its own
		field.Int("window").Default(0).Comment("of all its targets"),
		text("direction"),
		field.String("state").SchemaType(textColumn).Default("waiting"),
		field.Int64("epoch").Default(0).Comment("fencing token of the lease; 0: never leased"),
		word("worker"),
		field.Time("lease_until").Optional().Nillable(),
		field.Time("leased_at").Optional().Nillable(),
		field.Int("size").Default(0).Comment("targets put into it"),
		field.Int("finished").Default(0).Comment("of them, reported"),
		field.JSON("in_hand", []controlplane.InHand{}).Annotations(entsql.DefaultExpr("'[]'::jsonb")),
		field.Int("parallelism").Default(1).Comment("tenants at a time that it was handed out with"),
		updatedAt(),
	}
}

// Indexes of a batch. The partial one finds expired leases.
func (Batch) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("rollout_id", "number").Unique(),
		index.Fields("lease_until").Annotations(entsql.IndexWhere("state = 'running'")),
	}
}

// Annotations of a batch.
func (Batch) Annotations() []schema.Annotation {
	return []schema.Annotation{
		oneOf("direction", "up", "down"),
		oneOf("state", "waiting", "queued", "running", "done"),
		atLeast("parallelism", "1"),
	}
}

// Target is one tenant in one rollout. Room: rollout.
type Target struct{ ent.Schema }

// Fields of a target.
func (Target) Fields() []ent.Field {
	return []ent.Field{
		reference("rollout_id"),
		reference("tenant_id"),
		text("slug"),
		reference("cluster_id"),
		reference("database_id"),
		field.Int("wave").Default(1),
		field.Int("rank").Default(0).Comment("place in the order of its wave"),
		field.Int("window").Default(0).Comment("in which it may be worked on: 1 is the strategy's first; 0: at any time"),
		field.Int("batch_id").Optional().Nillable(),
		field.String("direction").SchemaType(textColumn).Default("up"),
		field.String("status").GoType(controlplane.TargetStatus("")).SchemaType(textColumn).Default(string(controlplane.TargetPending)),
		word("from_version"),
		word("from_release_id"),
		word("version"),
		field.Int("attempts").Default(0),
		field.JSON("failure", &controlplane.Failure{}).Optional(),
		field.Int64("duration_ms").Default(0),
		field.Time("not_before").Optional().Nillable(),
		updatedAt(),
	}
}

// Indexes of a target. The unique partial one keeps a promise: a tenant is an
// unfinished target of at most one rollout. With it, the other partial one finds
// the few targets that did not go well.
func (Target) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("rollout_id", "tenant_id").Unique(),
		index.Fields("rollout_id", "status"),
		index.Fields("batch_id"),
		index.Fields("tenant_id", "id"),
		index.Fields("tenant_id").StorageKey("target_in_trouble").
			Annotations(entsql.IndexWhere("status IN ('failed', 'needs_attention')")),
		index.Fields("tenant_id").Unique().StorageKey("target_unfinished").
			Annotations(entsql.IndexWhere("status IN ('pending', 'running', 'deferred', 'unknown')")),
	}
}

// Annotations of a target.
func (Target) Annotations() []schema.Annotation {
	return []schema.Annotation{
		oneOf("direction", "up", "down"),
		oneOf("status", controlplane.TargetStatuses...),
	}
}
