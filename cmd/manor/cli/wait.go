package cli

import (
	"context"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// lookEvery bounds how long a waiting command relies on events alone.
const lookEvery = 2 * time.Second

// await follows the events after a cursor, taken by [session.head], and calls on
// with each, and look at once and every now and then, until one of them is
// done. Events make it quick, looking makes it sure: whoever did the work, in
// whichever process, the answer is in the catalog.
func await(ctx context.Context, s *session, after string, on func(controlplane.Event) (bool, error), look func() (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	events, ended := make(chan controlplane.Event), make(chan error, 1)
	go func() {
		ended <- s.Events(ctx, after, func(e controlplane.Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err := awaitLoop(ctx, events, ended, on, look)
	cancel()
	return err
}

func awaitLoop(ctx context.Context, events <-chan controlplane.Event, ended <-chan error, on func(controlplane.Event) (bool, error), look func() (bool, error)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	done, err := look()
	for !done && err == nil {
		select {
		case e := <-events:
			done, err = on(e)
		case <-tick.C:
			done, err = look()
		case err = <-ended:
			if err == nil { // the service said goodbye: go on by looking
				ended = nil
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return err
}

// most is the largest page the service gives.
const most = 1000

// collect reads pages until it has limit items, all of them for 0.
func collect[T any](cursor string, limit int, fetch func(cursor string, limit int) (controlplane.Page[T], error)) (controlplane.Page[T], error) {
	all := controlplane.Page[T]{Next: cursor}
	for {
		size := most
		if limit > 0 {
			size = min(most, limit-len(all.Items))
		}
		page, err := fetch(all.Next, size)
		if err != nil {
			return all, err
		}
		all.Items, all.Next = append(all.Items, page.Items...), page.Next
		if all.Next == "" || limit > 0 && len(all.Items) >= limit {
			return all, nil
		}
	}
}
