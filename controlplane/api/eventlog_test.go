package api_test

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/manorhq/manor/controlplane"
)

// eventLog stands for the event log: events numbered from 1 in memory.
type eventLog struct {
	mu     sync.Mutex
	events []controlplane.Event
	grown  chan struct{} // closed and replaced when an event comes
	fail   error         // what Watch answers
	ended  chan struct{} // gets one for each Watch that ends
}

func newEventLog() *eventLog {
	return &eventLog{grown: make(chan struct{}), ended: make(chan struct{}, 100)}
}

func (l *eventLog) emit(kinds ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, kind := range kinds {
		l.events = append(l.events, controlplane.Event{Cursor: strconv.Itoa(len(l.events) + 1), Kind: kind, Subject: "t_1",
			Data: json.RawMessage(`{"slug":"acme","text":"a\nb"}`), At: at})
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *eventLog) failWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *eventLog) Head(context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strconv.Itoa(len(l.events)), nil
}

func (l *eventLog) Watch(ctx context.Context, after string, f func(controlplane.Event) error) error {
	defer func() {
		select {
		case l.ended <- struct{}{}:
		default: // nobody counts them
		}
	}()
	next, err := strconv.Atoi(after)
	if err != nil {
		return controlplane.Errorf(controlplane.Invalid, "cursor %q is not one of an event", after)
	}
	for {
		l.mu.Lock()
		events, grown, fail := l.events[min(next, len(l.events)):], l.grown, l.fail
		l.mu.Unlock()
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
			next++
		}
		if fail != nil {
			return fail
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
