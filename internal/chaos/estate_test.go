package chaos_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// estate is a control plane that works no job itself, with clusters of its own
// that can be looked over. Its workers are processes, to be killed.
type estate struct {
	*controlplanetest.Plane
	t        *testing.T
	catalog  *pgxpool.Pool
	clusters map[string]*devpg.Server // by name
}

func newEstate(t *testing.T, clusters ...string) *estate {
	t.Helper()
	e := &estate{Plane: controlplanetest.Open(t, controlplanetest.Options{Idle: true}), t: t, clusters: map[string]*devpg.Server{}}
	var err error
	if e.catalog, err = pgxpool.New(t.Context(), e.Config.Catalog.Reveal()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.catalog.Close)
	for _, name := range clusters {
		e.clusters[name] = pgtest.NewServer(t, devpg.Config{})
		e.AddServer(name, e.clusters[name])
	}
	return e
}

// worker starts a worker. deaths and log are as in startWorker.
func (e *estate) worker(deaths, log string) *worker {
	e.t.Helper()
	w, err := startWorker(e.Plane, e.t, deaths, log)
	if err != nil {
		e.t.Fatal(err)
	}
	return w
}

// lapse has run out what dead workers held. What happens when nobody does that
// is shown by TestRequirement13KilledLeaderOfRiverIsReplacedByItself.
func (e *estate) lapse() {
	e.t.Helper()
	e.Expire()
	e.tell("UPDATE workers SET seen_at = seen_at - interval '1 minute' WHERE works")
}

// tell changes the catalog behind the control plane's back.
func (e *estate) tell(statement string) {
	e.t.Helper()
	if _, err := e.catalog.Exec(e.t.Context(), statement); err != nil {
		e.t.Fatalf("%s: %v", statement, err)
	}
}

// create asks for tenants, and waits for none.
func (e *estate) create(like controlplane.NewTenant, slugs ...string) {
	e.t.Helper()
	wanted := make([]controlplane.NewTenant, len(slugs))
	for i, slug := range slugs {
		wanted[i] = like
		wanted[i].Slug = slug
	}
	results, err := e.CreateTenants(e.t.Context(), wanted, false)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, r := range results {
		if r.Error != nil {
			e.t.Fatalf("create %s: %v", r.Slug, r.Error)
		}
	}
	sum.tenants.Add(int64(len(slugs)))
}

// settled asks whether the clusters are where the tenants' states want them.
func (e *estate) settled(slugs ...string) func() (bool, error) {
	return func() (bool, error) {
		for _, slug := range slugs {
			if tenant, err := e.ShowTenant(e.t.Context(), slug); err != nil || !tenant.Settled {
				return false, err
			}
		}
		return true, nil
	}
}

// gone asks whether a purged tenant has been settled; no door shows it any more.
func (e *estate) gone(id string) func() (bool, error) {
	return func() (gone bool, err error) {
		err = e.ask("SELECT state = 'deleted' AND settled FROM tenants WHERE id = $1", id).Scan(&gone)
		return gone, err
	}
}

// ask puts a question to the catalog that no door answers.
func (e *estate) ask(query string, args ...any) answer {
	e.t.Helper()
	return answer{e, query, args, func(ctx context.Context, f func(*pgx.Conn) error) error {
		return e.catalog.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return f(conn.Conn()) })
	}}
}

// askOn puts a question to a database of a cluster, as a superuser, over a
// connection of its own: nothing of the test's is left where a drill may drop a
// database.
func (e *estate) askOn(cluster, database, query string, args ...any) answer {
	e.t.Helper()
	return answer{e, query, args, func(ctx context.Context, f func(*pgx.Conn) error) error {
		return connected(ctx, e.clusters[cluster].URL(database), f)
	}}
}

// answer is what a query returns over a connection that lend lends.
type answer struct {
	e     *estate
	query string
	args  []any
	lend  func(context.Context, func(*pgx.Conn) error) error
}

// Scan reads the answer's one row.
func (a answer) Scan(into ...any) error {
	ctx := a.e.t.Context()
	return a.lend(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, a.query, a.args...).Scan(into...)
	})
}

// lines are the answer's rows, of one text column each.
func (a answer) lines() []string {
	a.e.t.Helper()
	ctx := a.e.t.Context()
	var lines []string
	err := a.lend(ctx, func(conn *pgx.Conn) (err error) {
		rows, _ := conn.Query(ctx, a.query, a.args...)
		lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		a.e.t.Fatalf("%s: %v", a.query, err)
	}
	return lines
}

// connected lends a connection of its own for the time of f.
func connected(ctx context.Context, url string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}
