package schema

import (
	"encoding/json"

	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"
)

// Setting is one fact about the catalog itself: its incarnation, the release
// and version that new tenants start at.
type Setting struct{ ent.Schema }

// Fields of a setting.
func (Setting) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").StorageKey("key").SchemaType(textColumn).NotEmpty().Immutable(),
		text("value"),
	}
}

// AuditRecord says who did what. Room: audit.
type AuditRecord struct{ ent.Schema }

// Fields of an audit record.
func (AuditRecord) Fields() []ent.Field {
	return []ent.Field{
		happenedAt("at"),
		field.String("actor").SchemaType(textColumn).Immutable(),
		field.String("action").SchemaType(textColumn).Immutable(),
		field.String("subject").SchemaType(textColumn).Immutable(),
		field.JSON("detail", json.RawMessage{}).Optional().Immutable(),
	}
}

// Indexes of an audit record.
func (AuditRecord) Indexes() []ent.Index {
	return []ent.Index{index.Fields("subject")}
}

// Event is something that happened, written in the transaction in which it
// did. Package event.
type Event struct{ ent.Schema }

// Fields of an event. Only the database can know xid, the transaction that
// wrote the row: readers use it to see which events are final.
func (Event) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("xid").Immutable().Annotations(entsql.DefaultExpr("pg_current_xact_id()::text::bigint")),
		field.String("kind").SchemaType(textColumn).Immutable(),
		field.String("subject").SchemaType(textColumn).Immutable(),
		field.JSON("data", json.RawMessage{}).Immutable().Annotations(entsql.DefaultExpr("'null'::jsonb")),
		happenedAt("at"),
	}
}

// Indexes of an event.
func (Event) Indexes() []ent.Index {
	return []ent.Index{index.Fields("xid", "id")}
}
