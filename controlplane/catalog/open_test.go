package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/internal/faultproxy"
	"github.com/manorhq/manor/internal/pgtest"
)

const marked = "hunter2-marked"

func openError(t *testing.T, url string) *controlplane.Error {
	t.Helper()
	cat, err := catalog.Open(t.Context(), controlplane.NewSecret(url), catalog.Config{})
	if err == nil {
		cat.Close()
		t.Fatalf("the catalog at %s was opened", url)
	}
	e, ok := errors.AsType[*controlplane.Error](err)
	if !ok {
		t.Fatalf("%v is no *controlplane.Error", err)
	}
	if text := fmt.Sprintf("%v %+v %s %v", e, e, e.Hint, e.Cause); strings.Contains(text, marked) {
		t.Errorf("the password is in %q", text)
	}
	return e
}

func TestOpenSaysWhatIsWrongAndNeverThePassword(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	refusing := func(change func(*url.URL)) string {
		u, err := url.Parse(server.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	closed := closedPort(t)
	for name, c := range map[string]struct {
		url  string
		code controlplane.Code
		says string
	}{
		"no URL":          {"", controlplane.Invalid, "missing"},
		"no PostgreSQL":   {"postgres://u:" + marked + "@" + closed + "/manor", controlplane.Unavailable, closed},
		"not a URL":       {"postgres://u:" + marked + "@host:port:1/%zz", controlplane.Invalid, "cannot be read"},
		"not a setting":   {"user=u password=" + marked + " port=x", controlplane.Invalid, "cannot be read"},
		"wrong password":  {refusing(func(u *url.URL) { u.User = url.UserPassword(server.User(), marked) }), controlplane.Refused, "password authentication failed"},
		"no such login":   {refusing(func(u *url.URL) { u.User = url.UserPassword("nobody", marked) }), controlplane.Refused, "nobody"},
		"no such catalog": {server.URL("no_such_catalog"), controlplane.Refused, "no_such_catalog"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := openError(t, c.url)
			if e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Hint == "" {
				t.Errorf("got %s %q, hint %q; want %s naming %q, with a hint", e.Code, e.Message, e.Hint, c.code, c.says)
			}
		})
	}
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTimesAreReadAsUTC(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	created := addTenant(t, cat, "acme")
	read, err := cat.Ent().Tenant.Get(t.Context(), created.ID)
	if err != nil {
		t.Fatal(err)
	}
	if read.CreatedAt != created.CreatedAt || read.CreatedAt.Location() != time.UTC {
		t.Errorf("written %v, read %v", created.CreatedAt, read.CreatedAt)
	}
}

func TestConnectionsSayWhoseTheyAre(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	var application, path string
	err := cat.Pool().QueryRow(t.Context(), `SELECT current_setting('application_name'), current_setting('search_path')`).Scan(&application, &path)
	if err != nil || application != "manor" || path != "public" {
		t.Errorf("application_name %q, search_path %q, %v", application, path, err)
	}
}

// TestIdleConnectionsToTheCatalogThatHaveGoneHalfOpenHoldNobodyUp: a firewall
// has forgotten all of them.
func TestIdleConnectionsToTheCatalogThatHaveGoneHalfOpenHoldNobodyUp(t *testing.T) {
	t.Parallel()
	direct := catalogtest.URL(t)
	address, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultproxy.Start(address.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	address.Host = net.JoinHostPort(proxy.Host(), strconv.Itoa(proxy.Port()))
	cat := catalogtest.Open(t, address.String())
	var asking sync.WaitGroup
	for range 6 {
		asking.Go(func() { _, _ = cat.Pool().Exec(t.Context(), "SELECT pg_sleep(0.2)") })
	}
	asking.Wait()
	watcher := catalogtest.Open(t, direct)
	for idle := false; !idle; { // pgx trusts a connection for a second
		err := watcher.Pool().QueryRow(t.Context(), `SELECT bool_and(state = 'idle' AND state_change < clock_timestamp() - interval '1.1 s')
			FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&idle)
		if err != nil {
			t.Fatal(err)
		}
	}
	proxy.HalfOpen(faultproxy.BothWays)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if _, err := cat.Pool().Exec(ctx, "SELECT 1"); err != nil {
		t.Error(err)
	}
	proxy.Cut() // or what is half-open would hold up the end of the test
}
