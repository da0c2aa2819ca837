package chaos_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
)

const (
	// awhile is how long the others wait for one that sleeps with something in
	// its hands, before it is woken.
	awhile = time.Second
	// silence is how long nobody may say anything who is taken to be at rest.
	silence = 250 * time.Millisecond
)

// sleeps runs a drill whose worker is stopped at a moment, loses its lease to
// another worker, and wakes up when that one has done what it can.
func (b *block) sleeps(d drill, moment string) {
	b.t.Helper()
	when := fmt.Sprintf("%s, stopped at %s", d.name, moment)
	log := filepath.Join(b.t.TempDir(), "points")
	d.start()
	zombie := b.worker(moment+"=stop", log)
	asleep := false
	b.Eventually(when+": it stops, or ends", func() (bool, error) {
		asleep = slices.Contains(told(log), moment)
		ended, err := d.ended()
		return asleep || ended, err
	})
	if !asleep {
		sum.missed.Add(1)
	}
	sum.stops.Add(1)
	// It may have stopped in a transaction that holds the batch.
	b.tell(`UPDATE batches SET lease_until = lease_until - interval '1 minute'
		WHERE id IN (SELECT id FROM batches WHERE state <> 'done' FOR UPDATE SKIP LOCKED)`)
	other, tried := b.worker("", ""), time.Now()
	b.Eventually(when+": another has done what it can", func() (bool, error) {
		ended, err := d.ended()
		return ended || time.Since(tried) > awhile, err
	})
	zombie.signal(syscall.SIGCONT)
	b.Eventually(when+", ends", d.ended)
	said, since := len(told(log)), time.Now()
	b.Eventually(when+": the zombie has said its last", func() (bool, error) {
		if n := len(told(log)); n != said {
			said, since = n, time.Now()
		}
		return time.Since(since) > silence, nil
	})
	zombie.kill()
	other.kill()
	b.lapse()
	d.check(when)
	b.atRest(when)
	if b.t.Failed() {
		b.t.Fatalf("%s: run it again with -run '^%s$' -point '%s'", when, b.t.Name(), moment)
	}
}

// told are the moments that a worker has come by so far.
func told(log string) []string {
	text, _ := os.ReadFile(log) // it may not have begun
	var moments []string
	for moment := range bytes.FieldsSeq(text) {
		moments = append(moments, string(moment))
	}
	return moments
}

func TestWorkerThatSleptLongerThanItsLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, like controlplane.NewTenant) {
		b := newBlock(t, like)
		up, down := b.up(), b.down()
		atUp, atDown := b.chosen(up, b.census(up), 0), b.chosen(down, b.census(down), 0)
		for i, moment := range atUp {
			b.sleeps(up, moment)
			b.sleeps(down, atDown[i%len(atDown)])
		}
	})
}
