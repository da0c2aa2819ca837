package api_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/api"
	"github.com/manorhq/manor/controlplane/client"
)

var update = flag.Bool("update", false, "write the golden files")

// ask makes one raw request without a socket.
func ask(t *testing.T, e *edge, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://manor"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := api.Transport(e.handler).RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	return res, string(b)
}

const json_ = "application/json"

func TestProblemsAreAsTheGoldenFileHasThem(t *testing.T) {
	e := newEdge()
	var got strings.Builder
	show := func(what string, res *http.Response, body string) {
		body = regexp.MustCompile(`request=[A-Z2-7]{8}`).ReplaceAllString(body, "request=XXXXXXXX")
		fmt.Fprintf(&got, "# %s\n%s\nContent-Type: %s\n", what, res.Status, res.Header.Get("Content-Type"))
		if allow := res.Header.Get("Allow"); allow != "" {
			fmt.Fprintf(&got, "Allow: %s\n", allow)
		}
		fmt.Fprintf(&got, "%s\n", body)
	}
	for _, code := range []controlplane.Code{controlplane.Invalid, controlplane.NotFound, controlplane.Conflict, controlplane.Refused, controlplane.Unavailable, controlplane.Internal, "made-up"} {
		e.say(nil, controlplane.Errorf(code, "cluster %q: why <it> failed", "eu-1").WithHint("do this"))
		res, body := ask(t, e, "GET", "/v1/clusters/eu-1", "")
		show(string(code), res, body)
	}
	e.say(nil, errors.New("pq: relation manor.secret_table"))
	res, body := ask(t, e, "GET", "/v1/clusters/eu-1", "")
	show("an error without a code", res, body)
	e.say(nil, multierror.Append(controlplane.Errorf(controlplane.Refused, "eu-1 is full").WithHint("add one"), errors.New("secret"), controlplane.Errorf(controlplane.Internal, "secret"), fmt.Errorf("tenant b: %w", controlplane.Errorf(controlplane.Conflict, "taken"))))
	res, body = ask(t, e, "GET", "/v1/clusters/eu-1", "")
	show("several errors", res, body)

	for _, r := range []struct{ what, method, path, contentType, body string }{
		{"unknown route", "GET", "/v1/nothing", "", ""},
		{"not the root either", "GET", "/", "", ""},
		{"wrong method", "DELETE", "/v1/clusters", "", ""},
		{"malformed JSON", "POST", "/v1/clusters", json_, `{"name": "eu-1",, }`},
		{"JSON and more", "POST", "/v1/clusters", json_, `{"name": "eu-1"} x`},
		{"no body", "POST", "/v1/clusters", json_, ""},
		{"fields unknown, missing and of a wrong type", "POST", "/v1/clusters", json_, `{"nmae":"eu-1","address":{"hosts":["a"]},"login":7,"password":"p","capacity":"ten","labels":{"a":1}}`},
		{"not a file", "POST", "/v1/releases", json_, `{"name":"r1","files":{"1_a.sql":"SELECT 1"}}`},
		{"number too large", "POST", "/v1/rollouts", json_, `{"release":"r1","batch_size":99999999999999999999}`},
		{"no tenants", "POST", "/v1/tenants", json_, `{"tenants":[]}`},
		{"a form", "POST", "/v1/clusters", "application/x-www-form-urlencoded", "name=eu-1"},
		{"unknown query parameter", "GET", "/v1/tenants?serach=a", "", ""},
		{"limit out of bounds", "GET", "/v1/tenants?limit=1001", "", ""},
		{"limit not a number", "GET", "/v1/rollouts/r/targets?limit=all", "", ""},
	} {
		e.say(nil, nil)
		res, body := ask(t, e, r.method, r.path, r.body, "Content-Type", cmp.Or(r.contentType, json_))
		show(r.what, res, body)
		if door, _, _ := e.heard(); door != "" {
			t.Errorf("%s: reached %s", r.what, door)
		}
	}
	res, body = ask(t, e, "GET", "/v1/status", "", "X-Manor-User", strings.Repeat("u", 129))
	show("a user's name that is none", res, body)
	golden(t, "testdata/problems.golden", got.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with go test -update", err)
	}
	if d := diff.Diff(string(want), got); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, d)
	}
}

func TestTheOpenAPIDocumentIsCurrent(t *testing.T) {
	document, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/openapi.json", string(document))
	res, served := ask(t, newEdge(), "GET", "/openapi.json", "")
	var a, b any
	if err := errors.Join(json.Unmarshal(document, &a), json.Unmarshal([]byte(served), &b)); err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res.Status, err)
	}
	if d := diff.Diff(a, b); d != "" {
		t.Errorf("the served document is another (-want +got):\n%s", d)
	}
	if version := a.(map[string]any)["openapi"]; version != "3.1.0" {
		t.Errorf("the document is OpenAPI %v, want 3.1.0", version)
	}
}

func TestNoAnswerToABadRequestRepeatsAPassword(t *testing.T) {
	const marked = "hunter2-Marked"
	good, err := json.Marshal(controlplane.NewCluster{Name: "eu-1", Address: cluster.Address, Login: "manor", Password: marked, TLS: cluster.TLS})
	if err != nil {
		t.Fatal(err)
	}
	bodies := []string{
		`{"password":["` + marked + `"],"name":7}`,
		`{"password":{"a":"` + marked + `"},"nmae":"x"}`,
		`{"name":"eu-1","pasword":"` + marked + `"}`,
		`"` + marked + `"`, `["` + marked + `"]`, marked,
		`{"password":"` + marked + `\q"}`,
	}
	for cut := range good { // every way a body can break off
		bodies = append(bodies, string(good[:cut]), string(good[:cut])+"}", string(good[:cut])+`"x`)
	}
	e := newEdge()
	for _, path := range []string{"/v1/clusters", "/v1/tenants"} {
		for _, contentType := range []string{json_, "text/plain"} {
			for _, body := range bodies {
				e.say(&cluster, nil)
				_, answer := ask(t, e, "POST", path, body, "Content-Type", contentType)
				if strings.Contains(answer, "hunter2") || strings.Contains(e.log.String(), "hunter2") {
					t.Fatalf("the password comes back for %s:\n%s\nlog: %s", body, answer, e.log)
				}
			}
		}
	}
}

func TestTheCauseOfAnInternalErrorIsInTheLogAndNotInTheAnswer(t *testing.T) {
	const secret = "relation manor.internals"
	cause := errors.New(secret)
	for what, err := range map[string]error{
		"a plain error":     cause,
		"an internal error": controlplane.Errorf(controlplane.Internal, "adding: %w", cause),
		"a cause apart":     &controlplane.Error{Code: controlplane.Internal, Message: "adding", Cause: cause},
		"a wrapped one":     fmt.Errorf("adding: %w", controlplane.Errorf(controlplane.Internal, "x: %w", cause)),
		"a joined one":      errors.Join(cause, cause),
	} {
		e := newEdge()
		e.say(nil, err)
		_, answer := ask(t, e, "GET", "/v1/clusters/eu-1", "")
		if strings.Contains(answer, secret) {
			t.Errorf("%s: the answer says %s", what, answer)
		}
		id := regexp.MustCompile(`request=\w+`).FindString(answer)
		if log := e.log.String(); id == "" || !strings.Contains(log, id) || !strings.Contains(log, secret) {
			t.Errorf("%s: the log does not lead from %q to the cause: %s", what, id, log)
		}
	}
	e := newEdge()
	e.say([]controlplane.TenantResult{{Slug: "acme", Error: controlplane.Errorf(controlplane.Internal, "acme: %w", cause)}}, nil)
	_, answer := ask(t, e, "POST", "/v1/tenants", `{"tenants":[{"slug":"acme"}]}`)
	if strings.Contains(answer, secret) || !strings.Contains(answer, `"code":"internal"`) || !strings.Contains(e.log.String(), secret) {
		t.Errorf("a result's internal error: the answer says %s, the log %s", answer, e.log)
	}
}

func TestThePasswordOfATenantLeavesOnlyByReveal(t *testing.T) {
	e := newEdge()
	e.say(&dsn, nil)
	if _, answer := ask(t, e, "GET", "/v1/tenants/acme/dsn", ""); strings.Contains(answer, dsn.Password) {
		t.Errorf("GET answers %s", answer)
	}
	res, answer := ask(t, e, "POST", "/v1/tenants/acme/dsn/reveal", "")
	if !strings.Contains(answer, dsn.Password) || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("reveal answers %s %s", res.Header, answer)
	}
}

func TestABodyLargerThan16MiBIsRefusedAndOneBelowPasses(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		n := controlplane.NewRelease{Name: strings.Repeat("x", 3<<20), Files: map[string][]byte{}}
		e.say(&release, nil)
		if _, err := c.PushRelease(t.Context(), n); err != nil {
			t.Errorf("a request of 3 MiB: %v", err)
		}
		n.Name = strings.Repeat("x", 16<<20)
		e.say(&release, nil)
		_, err := c.PushRelease(t.Context(), n)
		if !errors.Is(err, &controlplane.Error{Code: controlplane.Invalid}) || !strings.Contains(err.Error(), "too large") {
			t.Errorf("a request of more than 16 MiB: %v, want an invalid error that says too large", err)
		}
		if door, _, _ := e.heard(); door != "" {
			t.Errorf("the large release reached %s", door)
		}
	})
}

func TestAPanicIsAnInternalErrorAndTheNextRequestWorks(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, e *edge, c *client.Client) {
		e.panics = "index out of range"
		_, err := c.ShowCluster(t.Context(), "eu-1")
		if !errors.Is(err, &controlplane.Error{Code: controlplane.Internal}) || strings.Contains(err.Error(), "range") {
			t.Errorf("got %v, want an internal error without the panic's value", err)
		}
		if log := e.log.String(); !strings.Contains(log, "index out of range") || !strings.Contains(log, "rooms_test.go") {
			t.Errorf("the log has no stack: %s", log)
		}
		e.panics = nil
		e.say(&cluster, nil)
		if _, err := c.ShowCluster(t.Context(), "eu-1"); err != nil {
			t.Error(err)
		}
	})
}

func TestListsAreNeverNull(t *testing.T) {
	e := newEdge()
	for _, path := range []string{"/v1/clusters", "/v1/tenants", "/v1/releases", "/v1/rollouts", "/v1/rollouts/r_ab/targets", "/v1/fingerprints"} {
		e.say(nil, nil)
		if res, answer := ask(t, e, "GET", path, ""); res.StatusCode != http.StatusOK || answer != "{\"items\":[]}\n" {
			t.Errorf("GET %s answers %s %s", path, res.Status, answer)
		}
	}
}
