package daemon_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/internal/devpg"
	"github.com/manorhq/manor/internal/pgtest"
)

// notebook collects what somebody wrote. Safe for concurrent use.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notebook) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// recorder is a transport that copies every answer but the one that is there
// to hold a secret.
type recorder struct {
	http.RoundTripper
	answers *notebook
}

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.RoundTripper.RoundTrip(request)
	if err == nil && !strings.HasSuffix(request.URL.Path, "/reveal") {
		answer.Body = copied{io.TeeReader(answer.Body, r.answers), answer.Body}
	}
	return answer, err
}

type copied struct {
	io.Reader
	io.Closer
}

// loud is a server that logs every statement, with its parameters.
func loud(t *testing.T) *devpg.Server {
	return pgtest.NewServer(t, devpg.Config{Settings: map[string]string{"log_statement": "all", "log_connections": "on",
		"log_min_error_statement": "debug5", "log_error_verbosity": "verbose", "log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "-1"}})
}

// scenario is a control plane between two loud servers, whose log, answers and
// errors are kept.
type scenario struct {
	*controlplanetest.Plane
	t                        *testing.T
	catalog, cluster         *devpg.Server
	log, answers, complaints *notebook
	secrets                  map[string]string // what they are for → in the clear
}

func newScenario(t *testing.T) *scenario {
	s := &scenario{t: t, catalog: loud(t), cluster: loud(t), log: &notebook{}, answers: &notebook{}, complaints: &notebook{}, secrets: map[string]string{}}
	s.Plane = controlplanetest.Open(t, controlplanetest.Options{Catalog: s.login(pgtest.Database(t, s.catalog)),
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	s.Client = client.New("http://manor", recorder{s.Daemon.Transport(), s.answers})
	return s
}

// login makes a login of the catalog's for Manor, and returns a URL with it.
func (s *scenario) login(superusers string) string {
	s.t.Helper()
	password := s.mark("the catalog's password")
	s.createRole(s.catalog, "catalog", "SUPERUSER", password)
	u, err := url.Parse(superusers)
	s.must("parse the catalog's URL", err)
	u.User = url.UserPassword("catalog", password)
	return u.String()
}

// mark makes a secret that is easy to find.
func (s *scenario) mark(what string) string {
	s.secrets[what] = "marked-" + rand.Text()
	return s.secrets[what]
}

// createRole makes a login with a verifier: the server never sees its password.
func (s *scenario) createRole(server *devpg.Server, name, options, password string) {
	s.t.Helper()
	verifier, err := pg.Verifier(controlplane.NewSecret(password))
	s.must("make a verifier", err)
	superuser := controlplanetest.Superuser(s.t, server, "postgres")
	_, err = superuser.Exec(s.t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN %s PASSWORD '%s'", name, options, verifier))
	s.must("make a login", err)
}

// fails expects a call to be refused and keeps its words.
func (s *scenario) fails(what string, err error) {
	s.t.Helper()
	if err == nil {
		s.t.Errorf("%s: no error", what)
		return
	}
	for ; err != nil; err = errors.Unwrap(err) {
		_, _ = io.WriteString(s.complaints, err.Error()+"\n")
	}
}

func (s *scenario) must(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

// addCluster adds the loud cluster, after some mistakes with its password.
func (s *scenario) addCluster() {
	s.t.Helper()
	password := s.mark("the control password")
	s.createRole(s.cluster, "control", "CREATEDB CREATEROLE", password)
	address, err := controlplane.ParseAddress(net.JoinHostPort(s.cluster.Host(), strconv.Itoa(s.cluster.Port())))
	s.must("the address", err)
	n := controlplane.NewCluster{Name: "one", Address: address, Login: "control", Password: s.mark("a wrong control password"),
		TLS: controlplane.TLS{Mode: "disable"}, Extensions: []string{"citext"}}
	_, err = s.AddCluster(s.t.Context(), n)
	s.fails("a wrong password", err)
	n.Password, n.DryRun = password, true
	_, err = s.AddCluster(s.t.Context(), n)
	s.must("try to add the cluster", err)
	n.DryRun = false
	_, err = s.AddCluster(s.t.Context(), n)
	s.must("add the cluster", err)
	_, err = s.AddCluster(s.t.Context(), n)
	s.fails("the cluster again", err)
	wrong := s.mark("another wrong control password")
	_, err = s.SetCluster(s.t.Context(), "one", controlplane.ClusterChange{Password: &wrong})
	s.fails("set a wrong password", err)
	_, err = s.SetCluster(s.t.Context(), "one", controlplane.ClusterChange{Password: &password})
	s.must("set the password", err)
}

// privateBody is a tenant's data. It may be in the tenant's cluster and nowhere else.
const privateBody = "marked-body-of-a-note"

// rollOut lets a rollout fail on one tenant, mends it, and takes all back.
func (s *scenario) rollOut() {
	s.t.Helper()
	s.Exec("acme", "INSERT INTO notes VALUES (1, $1, -1)", privateBody)
	s.Push("v2", controlplanetest.Second())
	r := s.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 2})
	if r.Counts[controlplane.TargetFailed] != 1 {
		s.t.Fatalf("the rollout is %s: %s", r.State, r.Counts)
	}
	_, err := s.RetryRollout(s.t.Context(), r.ID)
	s.must("retry", err)
	s.Rested(r.ID)
	s.Exec("acme", "UPDATE notes SET stars = 1")
	_, err = s.RetryRollout(s.t.Context(), r.ID)
	s.must("retry again", err)
	if r = s.Rested(r.ID); r.State != controlplane.RolloutSucceeded {
		s.t.Fatalf("after the retry the rollout is %s: %s", r.State, r.Counts)
	}
	_, err = s.Targets(s.t.Context(), r.ID, controlplane.TargetQuery{})
	s.must("targets", err)
	_, err = s.PlanRollback(s.t.Context(), r.ID, controlplane.RollbackRequest{})
	s.must("plan the rollback", err)
	_, err = s.RollbackRollout(s.t.Context(), r.ID, controlplane.RollbackRequest{})
	s.must("roll back", err)
	if r = s.Rested(r.ID); r.State != controlplane.RolloutRolledBack {
		s.t.Fatalf("after the rollback the rollout is %s: %s", r.State, r.Counts)
	}
}

// shutOut suspends a tenant, and loses the cluster for a while.
func (s *scenario) shutOut() {
	s.t.Helper()
	_, err := s.SuspendTenant(s.t.Context(), "acme", false)
	s.must("suspend", err)
	s.Settled("acme")
	_, err = s.TenantDSN(s.t.Context(), "acme", true)
	s.fails("the DSN of a suspended tenant", err)
	s.must("crash the cluster", s.cluster.Crash())
	results, err := s.CreateTenants(s.t.Context(), []controlplane.NewTenant{{Slug: "initech"}}, false)
	s.must("create on a cluster that is down", err)
	s.fails("create on a cluster that is down", results[0].Error)
	_, err = s.StartRollout(s.t.Context(), controlplane.NewRollout{Release: "v2"})
	s.fails("roll out on a cluster that is down", err)
	_, err = s.ResumeTenant(s.t.Context(), "acme", false)
	s.must("resume", err)
	s.Eventually("the failure to resume shows", func() (bool, error) {
		tenant, err := s.ShowTenant(s.t.Context(), "acme")
		return err == nil && tenant.Failure != nil, err
	})
	s.must("restart the cluster", s.cluster.Restart(s.t.Context()))
	s.Settled("acme")
}

// look goes through every door that only answers.
func (s *scenario) look() {
	s.t.Helper()
	ctx := s.t.Context()
	_, err := s.ListClusters(ctx)
	s.must("clusters", err)
	_, err = s.ShowCluster(ctx, "one")
	s.must("cluster", err)
	_, err = s.ListTenants(ctx, controlplane.TenantQuery{})
	s.must("tenants", err)
	_, err = s.ShowTenant(ctx, "acme")
	s.must("tenant", err)
	_, err = s.TenantDSN(ctx, "acme", false)
	s.must("dsn", err)
	_, err = s.ListReleases(ctx)
	s.must("releases", err)
	_, err = s.ListRollouts(ctx)
	s.must("rollouts", err)
	_, err = s.Status(ctx)
	s.must("status", err)
	enough := errors.New("enough")
	err = s.Events(ctx, "0.0", func(e controlplane.Event) error {
		if e.Kind == controlplane.EventRolloutChanged && strings.Contains(string(e.Data), string(controlplane.RolloutRolledBack)) {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		s.t.Fatalf("events: %v", err)
	}
}

// unseal reads every password that the catalog holds, by way of the key file.
func (s *scenario) unseal() {
	s.t.Helper()
	keys, err := secret.OpenKeyring(s.Config.KeyFile)
	s.must("open the keyring", err)
	conn := s.Plane.Catalog()
	for query, field := range map[string]string{
		"SELECT owner, sealed_password FROM databases":   "database.password",
		"SELECT login, sealed_password FROM credentials": "credential.password",
	} {
		rows, _ := conn.Query(s.t.Context(), query)
		var name string
		var sealed []byte
		_, err := pgx.ForEachRow(rows, []any{&name, &sealed}, func() error {
			opened, err := keys.Open(sealed, name, field)
			s.secrets["the password of "+name] = opened.Reveal()
			return err
		})
		s.must(query, err)
	}
}

// dump is the catalog, jobs included, as text.
func (s *scenario) dump() string {
	s.t.Helper()
	conn := s.Plane.Catalog()
	rows, _ := conn.Query(s.t.Context(), "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname IN ('public', 'river')")
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	s.must("list the catalog's tables", err)
	var all strings.Builder
	for _, table := range tables {
		rows, _ := conn.Query(s.t.Context(), "SELECT x::text FROM "+table+" x")
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		s.must("read "+table, err)
		all.WriteString(strings.Join(lines, "\n"))
	}
	return all.String()
}

func file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNoSecretIsInAnyLogErrorEventAnswerOrTable(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	s.addCluster()
	s.Push("v1", controlplanetest.First())
	s.Create(controlplane.NewTenant{}, "acme", "globex")
	s.Create(controlplane.NewTenant{Isolation: controlplane.IsolationDatabase}, "umbrella")
	for _, slug := range []string{"acme", "umbrella"} {
		dsn, err := s.TenantDSN(t.Context(), slug, true)
		s.must("reveal", err)
		s.secrets["the revealed password of "+slug] = dsn.Password
	}
	s.rollOut()
	s.shutOut()
	s.look()
	s.unseal()

	manors := map[string]string{"the daemon's log": s.log.String(), "the API's answers": s.answers.String(),
		"errors": s.complaints.String(), "the catalog": s.dump()}
	places := map[string]string{"the cluster's log": file(t, s.cluster.LogFile()), "the catalog server's log": file(t, s.catalog.LogFile())}
	for place, text := range manors {
		if strings.Contains(text, privateBody) {
			t.Errorf("%s has a tenant's data", place)
		}
		places[place] = text
	}
	if len(s.secrets) < 12 {
		t.Fatalf("only %d secrets are known", len(s.secrets))
	}
	for place, text := range places {
		if len(text) == 0 {
			t.Errorf("nothing was written to %s", place)
		}
		for what, value := range s.secrets {
			for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value)), hex.EncodeToString([]byte(value))} {
				if strings.Contains(text, form) {
					t.Errorf("%s has %s", place, what)
				}
			}
		}
	}
}
