package controlplane_test

import (
	"testing"

	"github.com/manorhq/manor/controlplane"
)

func TestAddressesAreHostsWithOrWithoutPorts(t *testing.T) {
	for given, want := range map[string]string{
		"db":                   "db:5432",
		"db:6432":              "db:6432",
		"db1, db2:6432":        "db1:5432,db2:6432",
		"10.0.0.1":             "10.0.0.1:5432",
		"::1":                  "[::1]:5432",
		"[::1]":                "[::1]:5432",
		"[::1]:6432":           "[::1]:6432",
		"[2001:db8::1]:1,db:2": "[2001:db8::1]:1,db:2",
	} {
		if got, err := controlplane.ParseAddress(given); err != nil || got.String() != want {
			t.Errorf("%q: got %q, %v, want %q", given, got, err, want)
		}
	}
	for _, bad := range []string{
		"", "[", "]", "[]", "[::1", "::1]", "[::1:5432", "::1]:5432", "[[::1]]", "[db", "db]", "[db:5432", "[10.0.0.1", "db,[::1",
		"db:0", "db:port", "db:65536", ":5432", "db/x", "u@db", "db,",
	} {
		if got, err := controlplane.ParseAddress(bad); controlplane.CodeOf(err) != controlplane.Invalid {
			t.Errorf("%q: got %q, %v, want an invalid error", bad, got, err)
		}
	}
}
