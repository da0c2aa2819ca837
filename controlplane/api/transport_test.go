package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane/api"
)

// begin sends a request to h without a socket.
func begin(t *testing.T, ctx context.Context, h http.HandlerFunc) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://manor/a%2Fb?c=d", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	return (&http.Client{Transport: api.Transport(h)}).Do(req)
}

func TestAnAnswerInProcessIsThatOfASocket(t *testing.T) {
	res, err := begin(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Before", "1")
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-After", "1")
		w.WriteHeader(http.StatusOK)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Host, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || string(b) != "POST /a%2Fb?c=d manor body" {
		t.Errorf("the answer is %q, %v", b, err)
	}
	if res.StatusCode != http.StatusTeapot || res.Header.Get("X-Before") == "" || res.Header.Get("X-After") != "" {
		t.Errorf("the answer begins %s %v", res.Status, res.Header)
	}
}

func TestAnEmptyAnswerIsNeverTakenForACancelledOne(t *testing.T) {
	for range 2000 { // the handler is over before its caller looks, or after
		res, err := begin(t, t.Context(), func(http.ResponseWriter, *http.Request) {})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); len(b) > 0 || err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("an empty answer reads %s %q, %v", res.Status, b, err)
		}
		res.Body.Close()
	}
}

func TestClosingTheBodyEndsTheHandler(t *testing.T) {
	ended := make(chan error, 1)
	res, err := begin(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		_, err := w.Write([]byte("too late"))
		ended <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := <-ended; err == nil {
		t.Error("the handler could write to a closed body")
	}
}

func TestACancelledAnswerDoesNotLookLikeAFinishedOne(t *testing.T) {
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	res, err := begin(t, ctx, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "half")
		cancel(why)
		<-r.Context().Done()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); !errors.Is(err, why) {
		t.Errorf("the answer reads %q, %v, want the cause of the cancellation", b, err)
	}
}

func TestACallerIsNotHeldByAHandlerThatHasNotBegun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release, ended := make(chan struct{}), make(chan struct{})
	_, err := begin(t, ctx, func(http.ResponseWriter, *http.Request) {
		cancel()
		<-release
		close(ended)
	})
	close(release)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
	<-ended
}

func TestAPanicOfAnyHandlerIsA500OrACutAnswer(t *testing.T) {
	res, err := begin(t, t.Context(), func(http.ResponseWriter, *http.Request) { panic("early") })
	if err != nil || res.StatusCode != http.StatusInternalServerError {
		t.Fatalf("an early panic: %v, %v, want a 500", res, err)
	}
	res.Body.Close()
	res, err = begin(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		panic("late")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after a late panic the answer reads %q, %v, want it cut off", b, err)
	}
}
