package daemon

import (
	"context"
	"net/http"
	"sync"
)

// calls are the requests in hand that came without a socket. A client whose
// context ends does not wait for the handler, which may have to clear up what
// it began: the process must.
type calls struct {
	handler http.Handler
	open    context.Context
	end     context.CancelFunc
	inHand  sync.RWMutex // held by readers, the handlers
}

func newCalls(h http.Handler) *calls {
	c := &calls{handler: h}
	c.open, c.end = context.WithCancel(context.Background())
	return c
}

func (c *calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.inHand.RLock()
	defer c.inHand.RUnlock()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(c.open, cancel)()
	c.handler.ServeHTTP(w, r.WithContext(ctx))
}

// close ends the calls in hand and waits for them while ctx lasts.
func (c *calls) close(ctx context.Context) {
	c.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.inHand.Lock()
		defer c.inHand.Unlock()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
