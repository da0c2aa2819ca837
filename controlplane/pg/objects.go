package pg

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Object is one of those that a fingerprint covers, or a right on one.
type Object struct {
	Kind       string // as fingerprint.sql has it
	Name       string // of what belongs to a table: "table.name"
	Definition string // equal where the objects are, within one major version
}

const objectsSQL = `
SELECT kind, replace(line.name, ns.name || '.', '') AS name, replace(def, ns.name, '$') AS definition
  FROM ns CROSS JOIN line ORDER BY kind COLLATE "C", line.name COLLATE "C", def COLLATE "C"`

// Objects are what the fingerprint of a schema is made of: to say where two
// schemas with different ones differ. In a transaction it leaves the schema
// behind as the search path.
func Objects(ctx context.Context, conn asked, schema string) (objects []Object, err error) {
	rows, err := conn.Query(ctx, linesSQL+objectsSQL, schema)
	if err == nil {
		objects, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Object])
	}
	return objects, fault(err, "list the objects of schema %s", schema)
}

// IsRight reports whether the object is a right or an owner, which are up to the
// home rather than to the migrations that made it.
func (o Object) IsRight() bool { return strings.HasPrefix(o.Kind, "~") }

// Compare says what is to be done to the objects of one schema so that they
// become those of another. What belongs to a table that is to be created or
// dropped is not named beside it, nor are the columns of a view that changes.
func Compare(have, want []Object) []controlplane.ObjectDifference {
	before, after := byName(have), byName(want)
	differ := map[string]controlplane.ObjectDifference{}
	for key, o := range before {
		if _, ok := after[key]; !ok {
			differ[key] = o.difference(controlplane.DifferenceDrop)
		}
	}
	for key, o := range after {
		had, ok := before[key]
		switch {
		case !ok:
			differ[key] = o.difference(controlplane.DifferenceCreate)
		case had.Definition != o.Definition:
			differ[key] = o.difference(controlplane.DifferenceChange)
		}
	}
	var all []controlplane.ObjectDifference
	for key, d := range differ {
		o := cmp.Or(after[key], before[key])
		if whole, ok := differ[o.whole()]; ok && (whole.Do != controlplane.DifferenceChange || strings.HasSuffix(whole.Kind, "view")) {
			continue
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b controlplane.ObjectDifference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Do, b.Do))
	})
	return slices.Compact(all) // a sequence and a composite type have two lines each
}

// byName joins the lines of one object, which has one for each right on it.
func byName(objects []Object) map[string]Object {
	all := map[string]Object{}
	for _, o := range objects {
		key := o.Kind + " " + o.Name
		if had, ok := all[key]; ok {
			o.Definition = had.Definition + "\n" + o.Definition
		}
		all[key] = o
	}
	return all
}

// whole is the key of what the object goes with: the relation that it is a part
// of, or what it is a right on.
func (o Object) whole() string {
	switch o.Kind {
	case "~right", "~owner":
		return o.Name
	case "column", "index", "constraint", "trigger", "rule", "policy":
		relation, _, _ := strings.Cut(o.Name, ".")
		return "relation " + relation
	}
	return ""
}

// The first character of a definition, as PostgreSQL's catalogs have it.
var (
	relations = map[byte]string{'r': "table", 'p': "table", 'v': "view", 'm': "materialized view", 'S': "sequence", 'f': "foreign table", 'c': "composite type"}
	types     = map[byte]string{'e': "enum", 'd': "domain", 'c': "composite type", 'r': "range type"}
	routines  = map[byte]string{'p': "procedure", 'a': "aggregate"}
)

// difference names the object in PostgreSQL's words.
func (o Object) difference(do string) controlplane.ObjectDifference {
	d := controlplane.ObjectDifference{Kind: o.Kind, Name: o.Name, Do: do}
	first := (o.Definition + " ")[0]
	switch o.Kind {
	case "relation":
		d.Kind = cmp.Or(relations[first], o.Kind)
	case "type":
		d.Kind = cmp.Or(types[first], o.Kind)
	case "function":
		d.Kind = cmp.Or(routines[first], o.Kind)
	case "~right":
		d.Kind, d.Name = "rights on", strings.TrimPrefix(o.Name, "relation ")
	case "~owner":
		d.Kind, d.Name = "owner of", strings.TrimPrefix(o.Name, "relation ")
	}
	return d
}
