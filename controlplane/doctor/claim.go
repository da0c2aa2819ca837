package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/work"
)

var errDryRun = errors.New("dry run")

// Claim makes a catalog of its own out of a copy. The markers of its tenants go
// over to a new incarnation, database by database, which locks the catalog out
// that they belonged to; then the copy may write. Interrupted anywhere, the next
// attempt goes on: until the last step the copy stays one. What cannot be reached
// is named, and keeps the copy from being claimed unless it is to be so partly.
func Claim(ctx context.Context, cat *catalog.Catalog, f *fleet.Service, by controlplane.Actor, n controlplane.NewClaim) (*controlplane.Claim, error) {
	s := &Service{cat: cat, fleet: f}
	if err := s.guard.See(by, "catalog.claim", cat.Name()); err != nil {
		return nil, err
	}
	if !n.DryRun && n.Confirm != cat.Name() {
		return nil, controlplane.Errorf(controlplane.Refused, "a claim takes the tenants from the catalog that this one was copied from").
			WithHint("if that is meant: --confirm %s", cat.Name())
	}
	var claimed *controlplane.Claim
	alone, err := cat.Alone(ctx, "claim", func(ctx context.Context) (err error) {
		claimed, err = s.claim(ctx, by, n)
		return err
	})
	if err == nil && !alone {
		return nil, controlplane.Errorf(controlplane.Conflict, "somebody else is claiming this catalog just now")
	}
	return claimed, err
}

func (s *Service) claim(ctx context.Context, by controlplane.Actor, n controlplane.NewClaim) (*controlplane.Claim, error) {
	k, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.beginClaim(ctx, n.DryRun)
	if err != nil {
		return nil, err
	}
	t := &takeover{known: k, Claim: c, dryRun: n.DryRun, read: map[string]map[string]pg.Stamp{}}
	missed, err := s.takeOver(ctx, t)
	if err != nil {
		return nil, err
	}
	out := t.sum()
	out.Catalog, out.Unreached = s.cat.Name(), unreached(missed)
	if n.DryRun {
		out.Incarnation = ""
		return out, nil
	}
	complete := len(out.Unreached) == 0
	if !complete && !n.Partly {
		return out, nil
	}
	out.Done = true
	return out, s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "catalog.claim", out.Catalog, out); err != nil {
			return err
		}
		return catalog.EndClaim(ctx, tx, c, t.highest(), complete)
	})
}

// beginClaim draws the incarnation, or finds the one that an earlier attempt drew.
func (s *Service) beginClaim(ctx context.Context, dryRun bool) (c catalog.Claim, err error) {
	if err := s.idle(ctx); err != nil {
		return c, err
	}
	place, err := s.cat.Place(ctx)
	if err != nil {
		return c, err
	}
	err = s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if c, err = catalog.BeginClaim(ctx, tx, place); err == nil && dryRun {
			err = errDryRun
		}
		return err
	})
	if errors.Is(err, errDryRun) {
		err = nil
	}
	return c, err
}

// idle refuses a catalog that workers are at work on: the tenants would be
// taken from under their hands.
func (s *Service) idle(ctx context.Context) error {
	var worker string
	err := s.cat.Pool().QueryRow(ctx, `SELECT id FROM workers WHERE works AND seen_at > clock_timestamp() - make_interval(secs => $1) LIMIT 1`,
		work.LostAfter.Seconds()).Scan(&worker)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return s.cat.Explain(fmt.Errorf("look for workers: %w", err))
	}
	return controlplane.Errorf(controlplane.Refused, "worker %s is at work on this catalog", worker).
		WithHint("stop it; one that the copy was made with is forgotten after %s", work.LostAfter)
}

// takeover is a claim being carried out.
type takeover struct {
	*known
	catalog.Claim
	dryRun bool

	mu   sync.Mutex
	read map[string]map[string]pg.Stamp // by database and tenant, afterwards
}

// takeOver rewrites the markers in all databases that can be reached.
func (s *Service) takeOver(ctx context.Context, t *takeover) ([]missed, error) {
	v := &visit{fleet: s.fleet, clusters: t.clusters, residents: residentsOf(t.residents),
		databases: func(clusterID string) []*database {
			return t.databasesOf(clusterID, func(d *database) bool { return d.Ready && !d.scratch() })
		},
		atCluster: func(ctx context.Context, _ *controlplane.Cluster, control *pgx.Conn) error { return control.Ping(ctx) },
		inside: func(ctx context.Context, d *database, owner *pgx.Conn) error {
			for _, from := range t.From {
				if t.dryRun {
					break
				}
				if _, err := pg.RewriteIncarnation(ctx, owner, from, t.To, 0); err != nil {
					return err
				}
			}
			markers, err := pg.ReadMarkers(ctx, owner)
			if err != nil {
				return err
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.read[d.ID] = byTenant(markers)
			return nil
		}}
	return v.run(ctx)
}

// highest is the last epoch that any marker names.
func (t *takeover) highest() (epoch int64) {
	for _, markers := range t.read {
		for _, m := range markers {
			epoch = max(epoch, m.Epoch)
		}
	}
	return epoch
}

// sum says which tenants are this catalog's now, and why the others are not. It
// is a pure function of what was read.
func (t *takeover) sum() *controlplane.Claim {
	out := &controlplane.Claim{Incarnation: t.To, DryRun: t.dryRun, Left: []controlplane.ClaimLeft{}}
	mine := map[string]int{}
	for i := range t.residents {
		r := &t.residents[i]
		markers, reached := t.read[r.DatabaseID]
		if !reached {
			continue
		}
		m, there := markers[r.ID]
		if there {
			mine[r.DatabaseID]++
		}
		if !there && !r.Settled {
			continue // on its way: it has no home yet, or none any more
		}
		out.Tenants++
		if why := t.left(r, m, there); why != "" {
			out.Left = append(out.Left, controlplane.ClaimLeft{Tenant: r.Slug, Cluster: t.clusterName(r.ClusterID), Reason: why})
			continue
		}
		out.Claimed++
	}
	for id, markers := range t.read {
		out.Strangers += len(markers) - mine[id]
	}
	slices.SortFunc(out.Left, func(a, b controlplane.ClaimLeft) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return out
}

// left says why a tenant is not this catalog's; "" when it is, or in a dry run
// would be.
func (t *takeover) left(r *resident, m pg.Stamp, there bool) string {
	switch {
	case !there:
		return "its home has no marker, or it has moved away"
	case m.Schema != r.Schema || m.Generation != r.Generation:
		return "it has moved since the copy was made"
	case m.Incarnation == t.To, t.dryRun && slices.Contains(t.From, m.Incarnation):
		return ""
	}
	return "it belongs to yet another catalog"
}
