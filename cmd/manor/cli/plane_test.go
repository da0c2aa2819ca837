package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane is a control plane behind the real API whose rooms do what a test
// says. What real ones do is the business of the scripts in cmd/manor.
type plane struct {
	mu       sync.Mutex
	log      []controlplane.Event
	more     *sync.Cond
	tenants  []*controlplane.Tenant
	requests []int // sizes of the creations
	looks    int   // how often a command read where things are
	taken    string
	rollout  controlplane.Rollout
	rests    *controlplane.Rollout // as it will be
	patience int                   // how many must have seen it going before it rests
	targets  []controlplane.Target // as the room lists them
	pages    int                   // of them that were asked for
	breaks   bool                  // a stream of events, after each
	failed   []controlplane.Target // as events tell them
	plan     controlplane.RollbackPlan
}

// start serves the plane on a socket and points the commands there.
func (p *plane) start(t *testing.T) *plane {
	t.Helper()
	p.more = sync.NewCond(&p.mu)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	requests, end := context.WithCancel(context.Background())
	server := &http.Server{
		Handler:     api.New(api.Config{Tenants: tenants{plane: p}, Rollouts: rollouts{plane: p}, Events: p, Logger: slog.New(slog.DiscardHandler)}),
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		end()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	})
	t.Setenv("MANOR_SERVER", "unix://"+path)
	return p
}

// outcome is how a command ended.
type outcome struct {
	code      int
	out, errs string
}

func manor(ctx context.Context, stdin string, args ...string) outcome {
	var out, errs bytes.Buffer
	code := Main(ctx, args, strings.NewReader(stdin), &out, &errs)
	return outcome{code, out.String(), errs.String()}
}

func (p *plane) emit(kind, subject string, data any) {
	raw, _ := json.Marshal(data)
	p.log = append(p.log, controlplane.Event{Cursor: strconv.Itoa(len(p.log) + 1), Kind: kind, Subject: subject, Data: raw})
	p.more.Broadcast()
}

func (p *plane) looked() {
	p.looks++
	p.more.Broadcast()
}

// untilLooked returns with the lock held, once a command has looked.
func (p *plane) untilLooked() {
	p.mu.Lock()
	for p.looks == 0 {
		p.more.Wait()
	}
}

func (p *plane) Head(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strconv.Itoa(len(p.log)), nil
}

func (p *plane) Watch(ctx context.Context, after string, f func(controlplane.Event) error) error {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock() // so that nobody is between the check of ctx and the wait
		defer p.mu.Unlock()
		p.more.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	for next, _ := strconv.Atoi(after); ctx.Err() == nil; {
		for ; next < len(p.log); next++ {
			e := p.log[next]
			p.mu.Unlock()
			err := f(e)
			p.mu.Lock()
			if err != nil {
				return err
			}
			if p.breaks {
				return controlplane.Errorf(controlplane.Unavailable, "the stream broke")
			}
		}
		if ctx.Err() == nil {
			p.more.Wait()
		}
	}
	return ctx.Err()
}

// tenants is the room of tenants: homes are ready when the events say so.
type tenants struct {
	api.Tenants // nil: what no test asks for
	*plane
}

func (r tenants) Create(_ context.Context, _ controlplane.Actor, wanted []controlplane.NewTenant, dryRun bool) ([]controlplane.TenantResult, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, len(wanted))
	var results []controlplane.TenantResult
	for _, n := range wanted {
		if n.Slug == r.taken {
			results = append(results, controlplane.TenantResult{Slug: n.Slug, Error: controlplane.Errorf(controlplane.Conflict, "slug %s is taken", n.Slug)})
			continue
		}
		t := controlplane.Tenant{ID: "id-" + n.Slug, Slug: n.Slug, State: controlplane.TenantProvisioning, Isolation: n.Isolation, Labels: n.Labels}
		results = append(results, controlplane.TenantResult{Slug: n.Slug, Tenant: &t})
		if !dryRun {
			made := t
			made.State, made.Settled, made.Version = controlplane.TenantActive, true, "20260907090000"
			if strings.HasPrefix(n.Slug, "bad") {
				made.State, made.Failure = controlplane.TenantFailed, &controlplane.Failure{Message: "it broke", SQLState: "23514"}
			}
			r.tenants = append(r.tenants, &made)
			r.emit(controlplane.EventTenantChanged, made.ID, controlplane.TenantEvent{Slug: made.Slug, State: made.State, Settled: true})
		}
	}
	return results, nil
}

func (r tenants) List(_ context.Context, _ controlplane.Actor, q controlplane.TenantQuery) (controlplane.Page[controlplane.Tenant], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked()
	page := controlplane.Page[controlplane.Tenant]{Items: []controlplane.Tenant{}}
	for _, t := range r.tenants {
		if strings.Contains(q.Select, strconv.Quote(t.Slug)) && (q.IncludeDeleted || t.State != controlplane.TenantDeleted) {
			page.Items = append(page.Items, *t)
		}
	}
	return page, nil
}

// Purge leaves the tombstone unsettled; the test settles it.
func (r tenants) Purge(_ context.Context, _ controlplane.Actor, slug, _ string, _ bool) (*controlplane.Tenant, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tenants {
		if t.Slug == slug && t.State == controlplane.TenantDeleting {
			t.State, t.Settled = controlplane.TenantDeleted, false
			r.emit(controlplane.EventTenantChanged, t.ID, controlplane.TenantEvent{Slug: slug, State: t.State})
			was := *t
			return &was, nil
		}
	}
	return nil, controlplane.Errorf(controlplane.NotFound, "there is no tenant %s", slug)
}

func (tenants) Show(context.Context, controlplane.Actor, string) (*controlplane.Tenant, error) {
	return nil, controlplane.Errorf(controlplane.NotFound, "the commands that wait look by id")
}
func (tenants) Set(context.Context, controlplane.Actor, string, controlplane.TenantChange) (*controlplane.Tenant, error) {
	return nil, controlplane.Errorf(controlplane.Unavailable, "not now").WithHint("later")
}
func (tenants) Suspend(context.Context, controlplane.Actor, string, bool) (*controlplane.Tenant, error) {
	return nil, controlplane.Errorf(controlplane.Refused, "not this one")
}
func (tenants) Resume(context.Context, controlplane.Actor, string, bool) (*controlplane.Tenant, error) {
	panic("not asked for")
}
func (tenants) Delete(context.Context, controlplane.Actor, string, bool) (*controlplane.Tenant, error) {
	panic("not asked for")
}
func (tenants) DSN(context.Context, controlplane.Actor, string, bool) (*controlplane.DSN, error) {
	panic("not asked for")
}
func (tenants) Fingerprints(context.Context, controlplane.Actor, controlplane.TenantQuery) ([]controlplane.FingerprintGroup, error) {
	panic("not asked for")
}

// rollouts is the room of rollouts: there is one, and the test moves it.
type rollouts struct {
	api.Rollouts // nil: what no test asks for
	*plane
}

// Show answers where the rollout is. One that is going comes to rest when
// somebody has seen it going.
func (r rollouts) Show(context.Context, controlplane.Actor, string) (*controlplane.Rollout, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked()
	now := r.rollout
	if r.rests != nil && r.looks > r.patience {
		r.rollout, r.rests = *r.rests, nil
		r.emit(controlplane.EventBatchFinished, "another", controlplane.RolloutEvent{State: controlplane.RolloutSucceeded})
		r.emit(controlplane.EventBatchFinished, now.ID, controlplane.RolloutEvent{State: now.State, Counts: now.Counts, Targets: now.Targets, Failed: r.failed})
		r.emit(controlplane.EventRolloutChanged, now.ID, controlplane.RolloutEvent{State: r.rollout.State, Counts: r.rollout.Counts, Targets: now.Targets})
	}
	return &now, nil
}

// going sets the rollout going; it comes to rest where it is now.
func (r rollouts) going(state controlplane.RolloutState) (*controlplane.Rollout, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rests := r.rollout
	r.rollout.State, r.rollout.Counts = state, controlplane.Counts{controlplane.TargetPending: rests.Targets}
	if rests.State.Resting() {
		r.rests = &rests
	}
	now := r.rollout
	return &now, nil
}

func (r rollouts) Start(context.Context, controlplane.Actor, controlplane.NewRollout) (*controlplane.Rollout, error) {
	return r.going(controlplane.RolloutRunning)
}
func (r rollouts) Rollback(context.Context, controlplane.Actor, string, controlplane.RollbackRequest) (*controlplane.Rollout, error) {
	return r.going(controlplane.RolloutRollingBack)
}
func (r rollouts) PlanRollback(context.Context, controlplane.Actor, string, controlplane.RollbackRequest) (*controlplane.RollbackPlan, error) {
	return &r.plan, nil
}
func (r rollouts) Targets(_ context.Context, _ controlplane.Actor, _ string, q controlplane.TargetQuery) (controlplane.Page[controlplane.Target], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pages++
	page := controlplane.Page[controlplane.Target]{Items: []controlplane.Target{}}
	for _, t := range r.targets {
		if t.Status == q.Status {
			page.Items = append(page.Items, t)
		}
	}
	return page, nil
}
func (r rollouts) Resume(context.Context, controlplane.Actor, string) (*controlplane.Rollout, error) {
	return r.going(controlplane.RolloutRunning)
}
func (r rollouts) Retry(context.Context, controlplane.Actor, string) (*controlplane.Rollout, error) {
	return nil, controlplane.Errorf(controlplane.Refused, "nothing failed")
}
