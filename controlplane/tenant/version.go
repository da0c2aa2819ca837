package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/placement"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/tenant"
)

const (
	// maxSet is how many tenants one call is about at most: it locks their rows.
	maxSet = 1000
	// setAtOnce leaves most of the connections to those who migrate.
	setAtOnce = 8
	setWithin = 30 * time.Second // one tenant, with the wait for a connection
)

// setLimits are those of who writes revisions and a marker, and nothing else.
var setLimits = migrator.Limits{Lock: 500 * time.Millisecond, Statement: 10 * time.Second}

// SetVersion says in tenants' own revisions that they are at a version of a
// release, up or down. No file runs: it is for tenants that somebody brought
// there by hand, or another tool. A tenant of which this cannot be said gets
// its own error; the others are not held up. What was interrupted is finished by
// the same call again; a catalog that was not told, by `manor status --verify` too.
func (s *Service) SetVersion(ctx context.Context, by controlplane.Actor, r controlplane.VersionRequest) ([]controlplane.VersionResult, error) {
	if err := s.guard.See(by, "tenant.set-version", ""); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if n := len(r.Tenants); n == 0 || n > maxSet {
		return nil, controlplane.Errorf(controlplane.Invalid, "%d tenants are not between 1 and %d", n, maxSet).WithHint("name more in several calls")
	}
	v := &versioning{Service: s, by: by, VersionRequest: r, unreached: map[string]error{}}
	if err := v.read(ctx); err != nil {
		return nil, err
	}
	if err := s.cat.InTx(ctx, func(tx *catalog.Tx) error { return v.permit(ctx, tx) }); err != nil && !errors.Is(err, errDryRun) {
		return nil, err
	}
	v.setAll(ctx)
	if !r.DryRun {
		v.tellCatalog(context.WithoutCancel(ctx)) // what was set was set
	}
	results := make([]controlplane.VersionResult, len(v.tenants))
	for i, t := range v.tenants {
		results[i] = t.VersionResult
	}
	return results, nil
}

// versioning is one call of SetVersion.
type versioning struct {
	*Service
	controlplane.VersionRequest
	by          controlplane.Actor
	version     string // "" is before the first file
	releaseID   string // of tenants at the version
	parsed      *migrator.Release
	incarnation string
	epoch       int64
	tenants     []*versioned // in the order of the request

	mu        sync.Mutex
	unreached map[string]error // by cluster: not to be asked for every one of its tenants
}

// versioned is one tenant of the call. It is left alone once it has an error.
type versioned struct {
	controlplane.VersionResult
	row *ent.Tenant
	at  *ent.Placement
}

func (v *versioning) read(ctx context.Context) error {
	r, err := release.ByName(ctx, v.cat.Ent(), v.Release)
	if err != nil {
		return err
	}
	if v.Version != controlplane.NoVersion {
		if !r.Has(v.Version) {
			return release.NoSuchVersion(r, v.Version)
		}
		v.version, v.releaseID = v.Version, r.ID
	}
	if v.parsed, err = v.releases.Load(ctx, r.ID); err != nil {
		return err
	}
	v.incarnation, err = v.cat.Incarnation(ctx)
	return err
}

// permit finds the tenants, refuses those of which it is not to be said, and
// writes down of the others that it is going to be said, and why.
func (v *versioning) permit(ctx context.Context, tx *catalog.Tx) error {
	if err := v.lock(ctx, tx); err != nil {
		return err
	}
	for _, t := range v.tenants {
		if t.Error != nil {
			continue
		}
		detail := map[string]string{"from": t.row.Version, "to": v.Version, "release": v.Release, "reason": v.Reason}
		if err := v.guard.Permit(ctx, tx, v.by, "tenant.set-version", t.Slug, detail); err != nil {
			return err
		}
	}
	var err error
	if v.epoch, err = tx.NextEpoch(ctx); err == nil && v.DryRun {
		err = errDryRun
	}
	return err
}

// lock reads the tenants, and locks them until their records are written.
func (v *versioning) lock(ctx context.Context, tx *catalog.Tx) error {
	rows, err := tx.Tenant.Query().Where(tenant.SlugIn(v.Tenants...), tenant.StateNEQ(controlplane.TenantDeleted)).Order(tenant.ByID()).ForUpdate().All(ctx)
	if err != nil {
		return fmt.Errorf("lock the tenants: %w", err)
	}
	bySlug, ids := map[string]*ent.Tenant{}, make([]string, len(rows))
	for i, row := range rows {
		bySlug[row.Slug], ids[i] = row, row.ID
	}
	placements, err := tx.Placement.Query().Where(placement.TenantIDIn(ids...)).All(ctx)
	if err != nil {
		return fmt.Errorf("read placements: %w", err)
	}
	at := map[string]*ent.Placement{}
	for _, p := range placements {
		at[p.TenantID] = p
	}
	targets, err := tx.Target.Query().Where(target.TenantIDIn(ids...), target.StatusIn(controlplane.UnfinishedStatuses...)).All(ctx)
	if err != nil {
		return fmt.Errorf("look for rollouts of the tenants: %w", err)
	}
	rollouts := map[string]string{}
	for _, t := range targets {
		rollouts[t.TenantID] = t.RolloutID
	}
	v.tenants = make([]*versioned, len(v.Tenants))
	for i, slug := range v.Tenants {
		t := &versioned{VersionResult: controlplane.VersionResult{Slug: slug}, row: bySlug[slug]}
		if t.row != nil {
			t.at, t.Was, t.Is = at[t.row.ID], t.row.Version, t.row.Version
		}
		t.Error = t.refusal(rollouts)
		if slices.Contains(v.Tenants[:i], slug) {
			t.Error = controlplane.Errorf(controlplane.Invalid, "tenant %s is named twice", slug)
		}
		v.tenants[i] = t
	}
	return nil
}

// refusal says why a tenant's version is not to be set. A pin is no reason: it
// keeps rollouts away.
func (t *versioned) refusal(rollouts map[string]string) *controlplane.Error {
	switch {
	case t.row == nil:
		return asked(notFound(t.Slug))
	case !t.row.State.Migratable():
		return controlplane.Errorf(controlplane.Refused, "tenant %s is %s, neither active nor suspended", t.Slug, t.row.State)
	case !t.row.Settled || t.at == nil:
		return controlplane.Errorf(controlplane.Conflict, "tenant %s is not %s yet", t.Slug, t.row.State).WithHint("try again when it is")
	case rollouts[t.row.ID] != "":
		id := rollouts[t.row.ID]
		return controlplane.Errorf(controlplane.Conflict, "rollout %s has still to work on tenant %s", id, t.Slug).
			WithHint("wait for it: `manor rollout watch %s`; or end it: `manor rollout abort %s`", id, id)
	}
	return nil
}

// asked is an error as a result carries it.
func asked(err error) *controlplane.Error {
	if e, ok := errors.AsType[*controlplane.Error](err); ok {
		return e
	}
	return controlplane.Errorf(controlplane.Unavailable, "%w", err).WithHint("try again; what is done stays")
}

func (v *versioning) setAll(ctx context.Context) {
	var work errgroup.Group
	work.SetLimit(setAtOnce)
	for _, t := range v.tenants {
		if t.Error != nil {
			continue
		}
		work.Go(func() error {
			if err := v.set(ctx, t); err != nil {
				t.Error = asked(err)
			}
			return nil
		})
	}
	_ = work.Wait()
}

// set writes the revisions of one tenant. A cluster that gave no connection is
// not asked again in this call.
func (v *versioning) set(ctx context.Context, t *versioned) error {
	if err := v.gave(t.at.ClusterID, ctx.Err()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, setWithin)
	defer cancel()
	home := migrator.Target{Isolation: t.row.Isolation, Marker: pg.Marker{TenantID: t.row.ID, Slug: t.Slug, Schema: t.at.Schema,
		Incarnation: v.incarnation, Generation: t.at.Generation, Epoch: v.epoch}}
	var was migrator.Revised
	var res migrator.Result
	err := v.fleet.AsOwner(ctx, t.at.DatabaseID, func(owner *pgx.Conn) error {
		was, res = v.parsed.Set(ctx, owner, home, v.version, v.DryRun, setLimits)
		return nil
	})
	if errors.Is(err, fleet.ErrNoConnection) || err != nil && !answered(err) {
		return v.gave(t.at.ClusterID, err)
	}
	if err != nil { // of this tenant's database, or its login
		return err
	}
	if err := notSet(t.Slug, res); err != nil {
		return err
	}
	t.Was, t.Partial, t.Is = was.Version, was.Partial, v.version
	return nil
}

// answered reports whether an error is what a server said.
func answered(err error) bool {
	_, said := errors.AsType[*pgconn.PgError](err)
	return said
}

// gave returns why a cluster gives no connection: now, or before in this call.
func (v *versioning) gave(clusterID string, err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil && v.unreached[clusterID] == nil {
		v.unreached[clusterID] = err
	}
	return v.unreached[clusterID]
}

func notSet(slug string, res migrator.Result) error {
	switch {
	case res.Outcome == migrator.Applied:
		return nil
	case res.Outcome == migrator.Unknown:
		return controlplane.Errorf(controlplane.Unavailable, "the connection was lost before tenant %s answered: %w", slug, res.Err).
			WithHint("the same command again finds out, and finishes it")
	case res.Failure == nil:
		return controlplane.Errorf(controlplane.Unavailable, "tenant %s was not asked: %w", slug, res.Err).WithHint("try again")
	}
	return controlplane.Errorf(controlplane.Conflict, "%s", res.Failure).WithHint("%s", res.Failure.Hint)
}

// tellCatalog stores where the tenants are now. One that changed meanwhile is
// left to whoever changed it.
func (v *versioning) tellCatalog(ctx context.Context) {
	var behind []*versioned
	var corrections []Correction
	for _, t := range v.tenants {
		if t.Error == nil && (t.row.Version != v.version || t.row.ReleaseID != v.releaseID) {
			behind = append(behind, t)
			corrections = append(corrections, Correction{TenantID: t.row.ID, Seen: t.row.UpdatedAt, Version: v.version, ReleaseID: v.releaseID, Reason: v.Reason})
		}
	}
	if len(behind) == 0 {
		return
	}
	var done map[string]bool
	err := v.cat.InTx(ctx, func(tx *catalog.Tx) (err error) {
		done, err = v.Correct(ctx, tx, v.by, corrections)
		return err
	})
	for _, t := range behind {
		switch {
		case err != nil:
			t.Error = controlplane.Errorf(controlplane.Unavailable, "tenant %s says so, and the catalog could not be told: %w", t.Slug, err)
		case !done[t.row.ID]:
			t.Error = controlplane.Errorf(controlplane.Conflict, "tenant %s says so, and the catalog was not told: somebody changed the tenant meanwhile", t.Slug)
		default:
			continue
		}
		t.Error.Hint = "`manor status --verify` tells it, or the same command again"
	}
}
