package doctor_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a control plane with one cluster that is the test's own: whatever
// else is on it was left there by the test.
type fixture struct {
	*controlplanetest.Plane
	t      *testing.T
	server *devpg.Server
}

func open(t *testing.T) *fixture { return openWith(t, controlplanetest.Options{}) }

func openWith(t *testing.T, o controlplanetest.Options) *fixture {
	t.Helper()
	f := &fixture{Plane: controlplanetest.Open(t, o), t: t, server: pgtest.NewServer(t, devpg.Config{})}
	f.AddServer("one", f.server)
	f.Push("v1", controlplanetest.First())
	return f
}

// both runs a test in both isolations.
func both(t *testing.T, f func(t *testing.T, f *fixture, like controlplane.NewTenant)) {
	bothWith(t, controlplanetest.Options{}, f)
}

func bothWith(t *testing.T, o controlplanetest.Options, f func(t *testing.T, f *fixture, like controlplane.NewTenant)) {
	for _, isolation := range controlplane.Isolations {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			f(t, openWith(t, o), controlplane.NewTenant{Isolation: isolation})
		})
	}
}

// inCatalog changes the catalog behind Manor's back.
func (f *fixture) inCatalog(sql string, args ...any) {
	f.t.Helper()
	conn := f.Catalog()
	defer conn.Close(context.WithoutCancel(f.t.Context()))
	if _, err := conn.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

// onCluster changes a database of the cluster behind Manor's back.
func (f *fixture) onCluster(database, sql string, args ...any) {
	f.t.Helper()
	conn := controlplanetest.Superuser(f.t, f.server, database)
	defer conn.Close(context.WithoutCancel(f.t.Context()))
	if _, err := conn.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

// inHome runs SQL as a superuser in a tenant's database; %s is its schema.
func (f *fixture) inHome(slug, sql string) {
	f.t.Helper()
	p := f.placement(slug)
	f.onCluster(p.Database, strings.ReplaceAll(sql, "%s", p.Schema))
}

func (f *fixture) placement(slug string) controlplane.Placement {
	f.t.Helper()
	tenant, err := f.ShowTenant(f.t.Context(), slug)
	if err != nil {
		f.t.Fatal(err)
	}
	return tenant.Placement
}

func (f *fixture) verify(dryRun bool) *controlplane.Verification {
	f.t.Helper()
	v, err := f.VerifyStatus(f.t.Context(), dryRun)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// examine returns the findings but for the notes.
func (f *fixture) examine(fix bool) []controlplane.Finding {
	f.t.Helper()
	c, err := f.Doctor(f.t.Context(), fix)
	if err != nil {
		f.t.Fatal(err)
	}
	if len(c.Unreached) > 0 {
		f.t.Errorf("not reached: %+v", c.Unreached)
	}
	return slices.DeleteFunc(c.Findings, func(f controlplane.Finding) bool { return f.Note })
}

// told is a finding in short, for comparing.
func told(findings []controlplane.Finding) []string {
	lines := []string{}
	for _, f := range findings {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Kind, f.Tenant, f.Object)))
	}
	slices.Sort(lines)
	return lines
}

func (f *fixture) strings(conn *pgx.Conn, sql string, args ...any) []string {
	f.t.Helper()
	rows, _ := conn.Query(f.t.Context(), sql, args...)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
	return values
}
