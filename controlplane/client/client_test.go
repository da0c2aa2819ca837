package client_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWithoutAServerTheErrorNamesTheAddressAndManorServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	l.Close() // nobody listens there now
	dir, err := os.MkdirTemp("", "manor")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dead := filepath.Join(dir, "dead")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	u.SetUnlinkOnClose(false) // as after kill -9
	u.Close()
	for _, address := range []string{address, "unix://" + dead, "unix://" + dir + "/none"} {
		c, err := client.Dial(address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Status(t.Context())
		e, ok := errors.AsType[*controlplane.Error](err)
		if !ok || e.Code != controlplane.Unavailable || !strings.Contains(e.Message, address) || !strings.Contains(e.Hint, "start one with `manor serve`") {
			t.Errorf("%s: got %#v", address, err)
		}
		if err := c.Events(t.Context(), "", nil); !errors.Is(err, &controlplane.Error{Code: controlplane.Unavailable}) {
			t.Errorf("%s: the first stream of events: %v, want an unavailable error at once", address, err)
		}
	}
}

func TestAnAddressThatIsNoneIsRefusedBeforeDialling(t *testing.T) {
	for _, address := range []string{"", "manor", "/run/manor.sock", "unix:", "unix://manor.sock", "unix://host/run/manor.sock", "http://", "ftp://a", "http://a b", "127.0.0.1:80"} {
		_, err := client.Dial(address)
		if !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) {
			t.Errorf("Dial(%q): %v, want an invalid error", address, err)
		}
	}
}

func TestPlainHTTPGoesToLoopbackHostsOnly(t *testing.T) {
	for _, address := range []string{"http://127.0.0.1:80", "http://127.8.9.10", "http://[::1]:80", "http://localhost:80", "http://LOCALHOST/"} {
		c, err := client.Dial(address)
		if err != nil {
			t.Errorf("Dial(%q): %v", address, err)
			continue
		}
		c.Close()
	}
	for _, address := range []string{
		"http://10.0.0.1:80", "http://manor.example", "http://localhost.example", "http://127.0.0.1.example:80", "http://0.0.0.0:80", "http://[::]:80",
		"https://127.0.0.1:443", "https://localhost", "https://manor.example", "HTTP://manor.example", "http://ada:secret@manor.example",
	} {
		_, dialled := client.Dial(address)
		c := client.New(address, nil)
		_, asked := c.Status(t.Context())
		c.Close()
		for door, err := range map[string]error{"Dial": dialled, "New": asked} {
			e, ok := errors.AsType[*controlplane.Error](err)
			if !ok || e.Code != controlplane.Invalid || !strings.Contains(e.Hint, "unix socket") || strings.Contains(e.Message, "secret") {
				t.Errorf("%s(%q): %#v, want it refused with a hint", door, address, err)
			}
		}
	}
}

// Go's own rule spares localhost; a proxy of the environment must see nothing
// whatever that rule becomes.
func TestRequestsAreNeitherProxiedNorRedirected(t *testing.T) {
	var strayed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	through := http.DefaultTransport.(*http.Transport)
	before := through.Proxy
	defer func() { through.Proxy = before }()
	proxy, err := url.Parse(elsewhere.URL)
	if err != nil {
		t.Fatal(err)
	}
	through.Proxy = http.ProxyURL(proxy)
	c, err := client.Dial(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); err == nil || strayed.Load() != 0 {
		t.Errorf("%d requests went elsewhere; the answer was %v", strayed.Load(), err)
	}
}

func TestAnAnswerThatIsNotManorsIsAnErrorThatSaysSo(t *testing.T) {
	for status, code := range map[int]controlplane.Code{
		http.StatusBadGateway: controlplane.Unavailable, http.StatusNotFound: controlplane.NotFound, http.StatusForbidden: controlplane.Internal,
		http.StatusOK: controlplane.Unavailable,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			w.Write([]byte("<html>a proxy's page</html>"))
		}))
		c := client.New(server.URL, nil)
		_, err := c.Status(t.Context())
		if controlplane.CodeOf(err) != code || strings.Contains(err.Error(), "<html>") {
			t.Errorf("status %d: got %v (%s), want code %s", status, err, controlplane.CodeOf(err), code)
		}
		c.Close()
		server.Close()
	}
}
