package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// tenantWait waits until tenants are settled in a state.
type tenantWait struct {
	s       *session
	want    controlplane.TenantState
	bar     *render.Progress
	print   *render.Printer
	pending map[string]string // slug to the last trouble shown of it
	total   int
	failed  int
}

// lookupAtOnce is how many tenants are asked for in one query.
const lookupAtOnce = 100

func (a *app) newTenantWait(s *session, want controlplane.TenantState, tenants []controlplane.Tenant) *tenantWait {
	w := &tenantWait{s: s, want: want, print: a.print, pending: map[string]string{}, total: len(tenants)}
	for _, t := range tenants {
		w.pending[t.Slug] = ""
	}
	return w
}

// run follows events after a cursor until no tenant is pending. When ctx ends
// it says how to go on.
func (w *tenantWait) run(ctx context.Context, after, label string) error {
	w.bar = w.print.Progress(label)
	defer w.bar.Close()
	w.show()
	err := await(ctx, w.s, after, w.onEvent, func() (bool, error) { return w.look(ctx) })
	if err != nil && ctx.Err() != nil {
		w.bar.Close()
		return w.interrupted()
	}
	return err
}

func (w *tenantWait) interrupted() error {
	text := fmt.Sprintf("interrupted; %d of %d tenants are not settled yet, the control plane goes on with them", len(w.pending), w.total)
	if w.s.inProcess {
		text = fmt.Sprintf("interrupted; %d of %d tenants are not settled yet, the next control plane on this catalog goes on with them", len(w.pending), w.total)
	}
	return &exit{code: exitInterrupted, message: text, hint: "`manor tenant list` shows where they are"}
}

func (w *tenantWait) onEvent(e controlplane.Event) (bool, error) {
	if e.Kind != controlplane.EventTenantChanged {
		return false, nil
	}
	var data controlplane.TenantEvent
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return false, fmt.Errorf("event %s cannot be read: %w", e.Cursor, err)
	}
	w.saw(data)
	return len(w.pending) == 0, nil
}

// saw takes note of where a tenant is.
func (w *tenantWait) saw(t controlplane.TenantEvent) {
	last, ours := w.pending[t.Slug]
	switch {
	case !ours:
		return
	case t.Settled && (t.State == w.want || t.State == controlplane.TenantFailed):
		delete(w.pending, t.Slug)
		if t.State == controlplane.TenantFailed && w.want != t.State {
			w.failed++
		}
	case t.Failure != nil && t.Failure.String() != last:
		w.pending[t.Slug] = t.Failure.String()
		w.bar.Print(fmt.Sprintf("%s: %s", t.Slug, t.Failure))
	}
	w.show()
}

func (w *tenantWait) show() {
	detail := ""
	if w.failed > 0 {
		detail = strconv.Itoa(w.failed) + " failed"
	}
	w.bar.Update(w.total-len(w.pending), w.total, detail)
}

// look reads where the pending tenants are, whatever events came.
func (w *tenantWait) look(ctx context.Context) (bool, error) {
	slugs := sortedKeys(w.pending)
	now, err := lookup(ctx, w.s, slugs)
	if err != nil {
		return false, err
	}
	for _, slug := range slugs {
		t, found := now[slug]
		if !found { // purged: nothing answers to the slug any more
			t.State, t.Settled = controlplane.TenantDeleted, true
		}
		w.saw(controlplane.TenantEvent{Slug: slug, State: t.State, Settled: t.Settled, Failure: t.Failure})
	}
	return len(w.pending) == 0, nil
}

// lookup reads tenants by slug, as many as there are of them.
func lookup(ctx context.Context, s *session, slugs []string) (map[string]controlplane.Tenant, error) {
	found := make(map[string]controlplane.Tenant, len(slugs))
	if len(slugs) == 1 {
		t, err := s.ShowTenant(ctx, slugs[0])
		if errors.Is(err, &controlplane.Error{Code: controlplane.NotFound}) {
			return found, nil
		}
		if err == nil {
			found[t.Slug] = *t
		}
		return found, err
	}
	for len(slugs) > 0 {
		n := min(lookupAtOnce, len(slugs))
		page, err := s.ListTenants(ctx, controlplane.TenantQuery{Select: slugIn(slugs[:n]), Limit: most})
		if err != nil {
			return nil, err
		}
		for _, t := range page.Items {
			found[t.Slug] = t
		}
		slugs = slugs[n:]
	}
	return found, nil
}

// slugIn is the CEL expression that selects tenants by slug.
func slugIn(slugs []string) string {
	quoted := make([]string, len(slugs))
	for i, s := range slugs {
		quoted[i] = strconv.Quote(s)
	}
	return "tenant.slug in [" + strings.Join(quoted, ", ") + "]"
}
