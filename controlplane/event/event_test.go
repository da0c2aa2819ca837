package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/catalog/catalogtest"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const kind = controlplane.EventTenantChanged

func emit(t *testing.T, cat *catalog.Catalog, subjects ...string) {
	t.Helper()
	err := cat.InTx(t.Context(), func(tx *catalog.Tx) error { return emitIn(t.Context(), tx, subjects...) })
	if err != nil {
		t.Error(err)
	}
}

func emitIn(ctx context.Context, tx *catalog.Tx, subjects ...string) error {
	for _, subject := range subjects {
		if err := event.Emit(ctx, tx, kind, subject, controlplane.TenantEvent{Slug: subject}); err != nil {
			return err
		}
	}
	return nil
}

// read returns the subjects after a cursor, and the cursor after them, once
// there are n. Of what is committed a reader may hear a moment later: a
// transaction of another database that ends while it looks holds it back.
func read(t *testing.T, log *event.Log, after string, n int) (subjects []string, next string) {
	t.Helper()
	next = after
	for _, e := range readEvents(t, log, after, n) {
		subjects, next = append(subjects, e.Subject), e.Cursor
	}
	return subjects, next
}

func readEvents(t *testing.T, log *event.Log, after string, n int) []controlplane.Event {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		events, err := log.Read(t.Context(), after, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) >= n {
			return events
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d events came", len(events), n)
		}
	}
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: read %v, want %v", what, got, want)
	}
}

func TestReaderGoesOnWhereItsCursorIs(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	log := event.NewLog(cat)
	emit(t, cat, "a", "b")
	got, cursor := read(t, log, "", 2)
	expect(t, "from the beginning", got, "a", "b")
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	emit(t, cat, "c")
	got, end := read(t, log, cursor, 1)
	expect(t, "after the cursor", got, "c")
	got, _ = read(t, log, head, 1)
	expect(t, "after the head", got[len(got)-1:], "c")
	got, _ = read(t, log, end, 0)
	expect(t, "at the end", got)
}

func TestEventIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	emit(t, cat, "acme")
	events := readEvents(t, event.NewLog(cat), "", 1)
	var data controlplane.TenantEvent
	if err := json.Unmarshal(events[0].Data, &data); err != nil || data.Slug != "acme" || events[0].Kind != kind {
		t.Errorf("%+v, %v", events[0], err)
	}
	if age := time.Since(events[0].At); age < 0 || age > time.Minute || events[0].At.Location() != time.UTC {
		t.Errorf("it happened at %v", events[0].At)
	}
}

func TestEventOfAFailedTransactionIsNeverSeen(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	_ = cat.InTx(t.Context(), func(tx *catalog.Tx) error {
		return errors.Join(emitIn(t.Context(), tx, "a"), errors.New("no"))
	})
	emit(t, cat, "b")
	got, _ := read(t, event.NewLog(cat), "", 1)
	expect(t, "all", got, "b")
}

// TestEventThatCommitsLateIsNotSkipped has a transaction that began first
// commit last, in both orders of writing.
func TestEventThatCommitsLateIsNotSkipped(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"written before the other began": true, "written after the other committed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cat := catalogtest.New(t)
			log := event.NewLog(cat)
			var cursor string
			err := cat.InTx(t.Context(), func(tx *catalog.Tx) error {
				err := tx.Setting.Create().SetID("x").SetValue("the transaction id is drawn").Exec(t.Context())
				if early {
					err = errors.Join(err, emitIn(t.Context(), tx, "slow"))
				}
				emit(t, cat, "fast")
				var got []string
				got, cursor = read(t, log, "", 0)
				expect(t, "while the older one runs", got)
				if !early {
					err = errors.Join(err, emitIn(t.Context(), tx, "slow"))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			got, _ := read(t, log, cursor, 2)
			expect(t, "after it committed", got, "slow", "fast")
		})
	}
}

// TestTransactionOfAnotherDatabaseHoldsNothingBack has the catalog belong to a
// plain login, which may not see what a superuser's sessions do.
func TestTransactionOfAnotherDatabaseHoldsNothingBack(t *testing.T) {
	t.Parallel()
	cat := catalogtest.Open(t, plainDatabase(t))
	other := connect(t, pgtest.Database(t))
	if _, err := other.Exec(t.Context(), `BEGIN; SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	emit(t, cat, "a")
	got, _ := read(t, event.NewLog(cat), "", 1)
	expect(t, "while it runs", got, "a")
}

// plainDatabase is the URL of a database as the login that owns it.
func plainDatabase(t *testing.T) string {
	t.Helper()
	user, password := pgtest.ControlLogin(t)
	u, err := url.Parse(pgtest.Server(t).URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	if _, err := connect(t, u.String()).Exec(t.Context(), `CREATE DATABASE `+user); err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + user
	return u.String()
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestWatchersSeeEveryEventOfConcurrentWritersOnceAndInOneOrder(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	log := event.NewLog(cat)
	const writers, each, readers = 6, 25, 3
	var wg sync.WaitGroup
	orders := make([][]string, readers)
	for i := range readers {
		wg.Go(func() { orders[i] = collect(t, log, writers*each) })
	}
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				_ = cat.InTx(t.Context(), func(tx *catalog.Tx) error { // held open for random times
					err := emitIn(t.Context(), tx, fmt.Sprintf("%d.%d", w, n))
					_, err2 := tx.ExecContext(t.Context(), fmt.Sprintf(`SELECT pg_sleep(%f)`, rand.Float64()/100))
					return errors.Join(err, err2)
				})
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, subject := range orders[0] {
		seen[subject] = true
	}
	if len(seen) != writers*each {
		t.Errorf("%d of %d events were seen", len(seen), writers*each)
	}
	for i := range readers {
		expect(t, "another reader", orders[i], orders[0]...)
	}
}

var errEnough = errors.New("enough")

func collect(t *testing.T, log *event.Log, n int) (subjects []string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := log.Watch(ctx, "", func(e controlplane.Event) error {
		if subjects = append(subjects, e.Subject); len(subjects) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("the watch ended with %v after %d events", err, len(subjects))
	}
	return subjects
}

func TestWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cat := catalogtest.New(t)
	emit(t, cat, "a")
	ctx, cancel := context.WithCancel(t.Context())
	err := event.NewLog(cat).Watch(ctx, "", func(controlplane.Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestCursorThatManorDidNotGiveIsRefused(t *testing.T) {
	t.Parallel()
	log := event.NewLog(catalogtest.New(t))
	for _, cursor := range []string{"x", "1", "1.", ".1", "-1.1", "1.2.3", "1.99999999999999999999", "1;DROP"} {
		if _, err := log.Read(t.Context(), cursor, 1); controlplane.CodeOf(err) != controlplane.Invalid {
			t.Errorf("%q: %v", cursor, err)
		}
	}
}
