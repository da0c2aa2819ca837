package client_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
