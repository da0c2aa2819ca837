package migrator

import (
	"fmt"

	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"

	"github.com/manorhq/manor/controlplane"
)

// dropsIn names what changes drop, made anew or not.
func dropsIn(changes []schema.Change) (names []string) {
	each(changes, func(t *schema.Table, change schema.Change) {
		switch c := change.(type) {
		case *schema.DropTable:
			names = append(names, fmt.Sprintf("table %s, with its rows", c.T.Name))
		case *schema.DropColumn:
			names = append(names, fmt.Sprintf("column %s.%s, with its values", t.Name, c.C.Name))
		case *schema.DropIndex:
			names = append(names, fmt.Sprintf("index %s of %s", c.I.Name, t.Name))
		case *schema.ModifyIndex:
			names = append(names, fmt.Sprintf("index %s of %s, made anew", c.From.Name, t.Name))
		case *schema.DropPrimaryKey:
			names = append(names, fmt.Sprintf("primary key of %s", t.Name))
		case *schema.ModifyPrimaryKey:
			names = append(names, fmt.Sprintf("primary key of %s, made anew", t.Name))
		case *schema.DropForeignKey:
			names = append(names, fmt.Sprintf("foreign key %s of %s", c.F.Symbol, t.Name))
		case *schema.ModifyForeignKey:
			names = append(names, fmt.Sprintf("foreign key %s of %s, made anew", c.From.Symbol, t.Name))
		case *schema.DropCheck:
			names = append(names, fmt.Sprintf("check %s of %s", c.C.Name, t.Name))
		case *schema.ModifyCheck:
			names = append(names, fmt.Sprintf("check %s of %s, made anew", c.From.Name, t.Name))
		case *schema.DropObject:
			if e, ok := c.O.(*schema.EnumType); ok {
				names = append(names, "enum "+e.T)
			}
		}
	})
	return names
}

// each calls f with every change, and with the table that it changes.
func each(changes []schema.Change, f func(t *schema.Table, change schema.Change)) {
	for _, change := range changes {
		modify, ok := change.(*schema.ModifyTable)
		if !ok {
			f(nil, change)
			continue
		}
		for _, change := range modify.Changes {
			f(modify.T, change)
		}
	}
}

// renamesIn finds drops beside which something is added that could be the same
// under another name: a column of the same type in the same table, a table that
// has half of the columns. Atlas sees no renames in two states.
func renamesIn(changes []schema.Change) (found []controlplane.Rename) {
	each(changes, func(t *schema.Table, change schema.Change) {
		var r controlplane.Rename
		switch dropped := change.(type) {
		case *schema.DropColumn:
			r = controlplane.Rename{Kind: "column", From: t.Name + "." + dropped.C.Name}
			each(changes, func(in *schema.Table, change schema.Change) {
				if added, ok := change.(*schema.AddColumn); ok && in == t && typeName(added.C) == typeName(dropped.C) {
					r.To = append(r.To, t.Name+"."+added.C.Name)
				}
			})
		case *schema.DropTable:
			r = controlplane.Rename{Kind: "table", From: dropped.T.Name}
			each(changes, func(_ *schema.Table, change schema.Change) {
				if added, ok := change.(*schema.AddTable); ok && 2*inCommon(dropped.T, added.T) >= len(dropped.T.Columns) {
					r.To = append(r.To, added.T.Name)
				}
			})
		}
		if len(r.To) > 0 {
			found = append(found, r)
		}
	})
	return found
}

// inCommon counts the columns that two tables have in common.
func inCommon(a, b *schema.Table) (n int) {
	for _, c := range a.Columns {
		if other, ok := b.Column(c.Name); ok && typeName(c) == typeName(other) {
			n++
		}
	}
	return n
}

func typeName(c *schema.Column) string {
	name, err := postgres.FormatType(c.Type.Type)
	if err != nil {
		return c.Type.Raw
	}
	return name
}

// notes are what a migration may meet in a tenant and not on an empty schema:
// rows, and writers.
func notes(changes []schema.Change) (all []string) {
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	each(changes, func(t *schema.Table, change schema.Change) {
		switch c := change.(type) {
		case *schema.AddIndex:
			note("%s", builds(t, c.I))
		case *schema.ModifyIndex:
			note("%s", builds(t, c.To))
		case *schema.AddColumn:
			if !c.C.Type.Null && c.C.Default == nil && !fillsItself(c.C) {
				note("column %s.%s is NOT NULL without a default: it fails where the table has rows", t.Name, c.C.Name)
			}
		case *schema.ModifyColumn:
			if c.Change.Is(schema.ChangeNull) && !c.To.Type.Null {
				note("column %s.%s becomes NOT NULL: it fails where a row has no value", t.Name, c.To.Name)
			}
			if c.Change.Is(schema.ChangeType) {
				note("column %s.%s changes from %s to %s: it fails where a value does not fit, and may rewrite the table", t.Name, c.To.Name, typeName(c.From), typeName(c.To))
			}
		}
	})
	return all
}

// builds says whom the making of an index on a table that is there makes wait.
func builds(t *schema.Table, i *schema.Index) string {
	const alone = "in a file of its own that begins with `-- atlas:txmode none`"
	for _, attr := range i.Attrs {
		if _, ok := attr.(*postgres.Constraint); ok {
			return fmt.Sprintf("constraint %s on %s blocks writers of the table while its index is built; CREATE UNIQUE INDEX CONCURRENTLY, %s, and then ADD CONSTRAINT … USING INDEX would not", i.Name, t.Name, alone)
		}
	}
	return fmt.Sprintf("index %s on %s: CREATE INDEX blocks writers of the table; CREATE INDEX CONCURRENTLY, %s, would not", i.Name, t.Name, alone)
}

// fillsItself reports whether PostgreSQL has a value of the column for every row.
func fillsItself(c *schema.Column) bool {
	for _, attr := range c.Attrs {
		switch attr.(type) {
		case *postgres.Identity, *schema.GeneratedExpr:
			return true
		}
	}
	_, serial := c.Type.Type.(*postgres.SerialType)
	return serial
}
