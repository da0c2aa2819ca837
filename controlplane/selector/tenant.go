package selector

import (
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/manorhq/manor/controlplane"
)

var tenantType = cel.ObjectType("manor.Tenant")

// fields are what an expression sees of a tenant, by the names of its JSON.
var fields = map[string]*types.FieldType{
	"slug":        text(func(t *controlplane.Tenant) string { return t.Slug }),
	"external_id": text(func(t *controlplane.Tenant) string { return t.ExternalID }),
	"tier":        text(func(t *controlplane.Tenant) string { return t.Tier }),
	"region":      text(func(t *controlplane.Tenant) string { return t.Region }),
	"isolation":   text(func(t *controlplane.Tenant) string { return string(t.Isolation) }),
	"cluster":     text(func(t *controlplane.Tenant) string { return t.Cluster }),
	"version":     text(func(t *controlplane.Tenant) string { return t.Version }),
	"release":     text(func(t *controlplane.Tenant) string { return t.Release }),
	"state":       text(func(t *controlplane.Tenant) string { return string(t.State) }),
	"pinned": {
		Type:    cel.BoolType,
		IsSet:   func(any) bool { return true },
		GetFrom: func(t any) (any, error) { return t.(*controlplane.Tenant).Pin != nil, nil },
	},
	"labels": {
		Type:    cel.MapType(cel.StringType, cel.StringType),
		IsSet:   func(t any) bool { return len(t.(*controlplane.Tenant).Labels) > 0 },
		GetFrom: func(t any) (any, error) { return map[string]string(t.(*controlplane.Tenant).Labels), nil },
	},
}

// text is a field that is a string, set when it is not empty.
func text(get func(*controlplane.Tenant) string) *types.FieldType {
	return &types.FieldType{
		Type:    cel.StringType,
		IsSet:   func(t any) bool { return get(t.(*controlplane.Tenant)) != "" },
		GetFrom: func(t any) (any, error) { return get(t.(*controlplane.Tenant)), nil },
	}
}

// fieldNames are the fields as an expression writes them, sorted.
func fieldNames() []string {
	names := slices.Sorted(maps.Keys(fields))
	for i, name := range names {
		names[i] = "tenant." + name
		if name == "labels" {
			names[i] += ".KEY"
		}
	}
	return names
}

// tenantTypes teaches CEL the type of the variable tenant, without reflection.
type tenantTypes struct{ types.Provider }

func (p tenantTypes) FindStructType(name string) (*types.Type, bool) {
	if name == tenantType.TypeName() {
		return types.NewTypeTypeWithParam(tenantType), true
	}
	return p.Provider.FindStructType(name)
}

func (p tenantTypes) FindStructFieldNames(name string) ([]string, bool) {
	if name == tenantType.TypeName() {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p tenantTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name == tenantType.TypeName() {
		f, ok := fields[field]
		return f, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}
