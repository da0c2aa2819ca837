package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
	pending map[string]*waitedFor // by id: a slug may be used again
	total   int
	failed  int
}

// waitedFor is a tenant that is not settled yet.
type waitedFor struct {
	slug    string
	trouble string // the last that was shown
}

// lookupAtOnce is how many tenants are asked for in one query.
const lookupAtOnce = 100

func (a *app) newTenantWait(s *session, want controlplane.TenantState, tenants []controlplane.Tenant) *tenantWait {
	w := &tenantWait{s: s, want: want, print: a.print, pending: map[string]*waitedFor{}, total: len(tenants)}
	for _, t := range tenants {
		w.pending[t.ID] = &waitedFor{slug: t.Slug}
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
	w.saw(e.Subject, data)
	return len(w.pending) == 0, nil
}

// saw takes note of where a tenant is.
func (w *tenantWait) saw(id string, t controlplane.TenantEvent) {
	p, ours := w.pending[id]
	switch {
	case !ours:
		return
	case t.Settled && (t.State == w.want || t.State == controlplane.TenantFailed):
		delete(w.pending, id)
		if t.State != w.want {
			w.failed++
		}
	case t.Failure != nil && t.Failure.String() != p.trouble:
		p.trouble = t.Failure.String()
		w.bar.Print(p.slug + ": " + p.trouble)
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
	var slugs []string
	for _, id := range sortedKeys(w.pending) {
		slugs = append(slugs, w.pending[id].slug)
	}
	now, err := lookup(ctx, w.s, slugs, w.want == controlplane.TenantDeleted)
	if err != nil {
		return false, err
	}
	for _, t := range now {
		w.saw(t.ID, controlplane.TenantEvent{Slug: t.Slug, State: t.State, Settled: t.Settled, Failure: t.Failure})
	}
	return len(w.pending) == 0, nil
}

// lookup reads tenants by slug; with deleted, tombstones too, which may share
// theirs with others.
func lookup(ctx context.Context, s *session, slugs []string, deleted bool) ([]controlplane.Tenant, error) {
	var found []controlplane.Tenant
	q := controlplane.TenantQuery{IncludeDeleted: deleted}
	if len(slugs) == 1 {
		q.Search = slugs[0] // narrows in SQL what the selector decides
	}
	for chunk := range slices.Chunk(slugs, lookupAtOnce) {
		q.Select = slugIn(chunk)
		page, err := listTenants(ctx, s, q, listFlags{})
		if err != nil {
			return nil, err
		}
		found = append(found, page.Items...)
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
