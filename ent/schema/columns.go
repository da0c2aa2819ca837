package schema

import (
	"strings"
	"time"

	"entgo.io/ent"
	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
)

// textColumn keeps strings in PostgreSQL's own text rather than ent's varchar:
// the CHECKs then read as they were written.
var textColumn = map[string]string{dialect.Postgres: "text"}

// id is an opaque id that the owning room chooses.
func id() ent.Field {
	return field.String("id").SchemaType(textColumn).NotEmpty().Immutable()
}

// text is a string that must be given.
func text(name string) ent.Field {
	return field.String(name).SchemaType(textColumn)
}

// word is a string that is empty unless given.
func word(name string) ent.Field {
	return field.String(name).SchemaType(textColumn).Default("")
}

// reference holds another entity's id. There is no foreign key: rooms delete
// what they own, and tombstones outlive what they point at.
func reference(name string) ent.Field {
	return field.String(name).SchemaType(textColumn).NotEmpty()
}

// sealed is a secret as package secret sealed it.
func sealed(name string) ent.Field {
	return field.Bytes(name).Sensitive()
}

// now has PostgreSQL's precision, so that what was written equals what is read.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// createdAt is set once. The database has the same default for SQL written by hand.
func createdAt() ent.Field { return happenedAt("created_at") }

func happenedAt(name string) ent.Field {
	return field.Time(name).Default(now).Immutable().Annotations(entsql.DefaultExpr("now()"))
}

// updatedAt follows every update through ent; SQL written by hand sets it itself.
func updatedAt() ent.Field {
	return field.Time("updated_at").Default(now).UpdateDefault(now).Annotations(entsql.DefaultExpr("now()"))
}

// oneOf is the CHECK that column holds one of the values.
func oneOf[S ~string](column string, values ...S) entsql.Annotation {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = "'" + string(v) + "'"
	}
	return entsql.Annotation{Checks: map[string]string{column + "_known": column + " IN (" + strings.Join(quoted, ", ") + ")"}}
}

// atLeast is the CHECK that column is not below a bound.
func atLeast(column, bound string) entsql.Annotation {
	return entsql.Annotation{Checks: map[string]string{column + "_bound": column + " >= " + bound}}
}
