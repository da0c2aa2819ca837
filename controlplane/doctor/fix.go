package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/tenant"
)

// remedies are what is safe to do about a finding. Each finds out once more
// that there is something to mend, where it can, under a lock.
var remedies = map[controlplane.FindingKind]func(*Service, context.Context, controlplane.Actor, *examination, *controlplane.Finding) error{
	controlplane.FindingVersion:         (*Service).correctVersion,
	controlplane.FindingStaleStamp:      (*Service).stampAgain,
	controlplane.FindingInvalidIndex:    (*Service).dropIndex,
	controlplane.FindingLeftoverRole:    (*Service).dropRoles,
	controlplane.FindingExpiredLease:    (*Service).takeBack,
	controlplane.FindingUnsettledTenant: (*Service).resettle,
	controlplane.FindingStuckTenant:     (*Service).resettle,
}

// fix mends the findings that have a remedy, one after the other, and notes in
// each what became of it.
func (s *Service) fix(ctx context.Context, by controlplane.Actor, x *examination) {
	for i := range x.findings {
		f := &x.findings[i]
		if f.Remedy == "" || f.Fixed {
			continue
		}
		if err := remedies[f.Kind](s, ctx, by, x, f); err != nil {
			f.Error = toldOf(err)
			s.log.Warn("not mended", "kind", f.Kind, "cluster", f.Cluster, "tenant", f.Tenant, "object", f.Object, "err", err)
			continue
		}
		f.Fixed = true
	}
}

// permit writes down what is about to be done to a cluster, with what belongs
// to it in the catalog.
func (s *Service) permit(ctx context.Context, by controlplane.Actor, f *controlplane.Finding, more func(*catalog.Tx) error) error {
	subject := f.Tenant
	if subject == "" {
		subject = f.Object
	}
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "doctor.fix", subject, f); err != nil {
			return err
		}
		return more(tx)
	})
}

func nothing(*catalog.Tx) error { return nil }

// patient is the tenant of a finding.
func (x *examination) patient(f *controlplane.Finding) *resident {
	i := slices.IndexFunc(x.residents, func(r resident) bool { return r.ID == f.TenantID })
	return &x.residents[i]
}

// marker is what was found of a tenant.
func (x *examination) marker(r *resident) pg.Stamp {
	if in := x.found.databases[r.DatabaseID]; in != nil {
		return byTenant(in.markers)[r.ID]
	}
	return pg.Stamp{}
}

func (s *Service) correctVersion(ctx context.Context, by controlplane.Actor, x *examination, f *controlplane.Finding) error {
	r := x.patient(f)
	version, err := s.currentVersion(ctx, r)
	if err != nil || version == r.Version {
		return err
	}
	m := x.marker(r)
	done, err := s.correct(ctx, by, []tenant.Correction{{TenantID: r.ID, Seen: r.UpdatedAt, Version: version, Reason: f.Message,
		ReleaseID: x.releaseOf(version, m.Version, m.Release, r.ReleaseID)}})
	if err == nil && !done[r.ID] {
		err = controlplane.Errorf(controlplane.Conflict, "tenant %s has changed meanwhile", r.Slug)
	}
	return err
}

func (s *Service) currentVersion(ctx context.Context, r *resident) (version string, err error) {
	err = s.fleet.AsOwner(ctx, r.DatabaseID, func(owner *pgx.Conn) error {
		version, err = migrator.CurrentVersion(ctx, owner, r.Schema)
		return err
	})
	return version, err
}

// limits are those of a check: it changes the marker and nothing else.
var limits = migrator.Limits{Lock: 500 * time.Millisecond, Statement: 10 * time.Second}

// stampAgain proves that a tenant is where its revisions say, as a migration
// does, and stamps it with that.
func (s *Service) stampAgain(ctx context.Context, by controlplane.Actor, x *examination, f *controlplane.Finding) error {
	r, m := x.patient(f), x.marker(x.patient(f))
	version, err := s.currentVersion(ctx, r)
	if err != nil {
		return err
	}
	id := x.releaseOf(version, m.Version, m.Release, r.ReleaseID)
	if version == "" {
		id = r.ReleaseID
	}
	if id == "" {
		return controlplane.Errorf(controlplane.Refused, "no release holds %s", named(version)).WithHint("push the release that does")
	}
	parsed, err := s.releases.Load(ctx, id)
	if err != nil {
		return err
	}
	home := migrator.Target{Isolation: r.Isolation, From: version,
		Marker: pg.Marker{TenantID: r.ID, Slug: r.Slug, Schema: r.Schema, Incarnation: x.incarnation, Generation: r.Generation}}
	err = s.permit(ctx, by, f, func(tx *catalog.Tx) (err error) {
		home.Epoch, err = tx.NextEpoch(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return s.fleet.AsOwner(ctx, r.DatabaseID, func(owner *pgx.Conn) error { return stamped(parsed.Apply(ctx, owner, home, version, limits)) })
}

func stamped(res migrator.Result) error {
	switch {
	case res.Outcome == migrator.Current:
		return nil
	case res.Failure != nil:
		return controlplane.Errorf(controlplane.Conflict, "%s", res.Failure)
	}
	return controlplane.Errorf(controlplane.Unavailable, "the stamp was not written: %w", res.Err)
}

func (s *Service) dropIndex(ctx context.Context, by controlplane.Actor, x *examination, f *controlplane.Finding) error {
	r := x.patient(f)
	if err := s.permit(ctx, by, f, nothing); err != nil {
		return err
	}
	index := pg.InvalidIndex{Schema: r.Schema, Index: strings.TrimPrefix(f.Object, r.Schema+".")}
	way, err := s.fleet.Owner(ctx, r.DatabaseID)
	if err != nil {
		return err
	}
	return way.Do(ctx, func(keeper *pgx.Conn) error {
		return way.Beside(ctx, func(owner *pgx.Conn) error { return pg.DropInvalidIndex(ctx, keeper, owner, r.ID, index) })
	})
}

// dropRoles drops all that is left over of a home or a database at once.
func (s *Service) dropRoles(ctx context.Context, by controlplane.Actor, x *examination, f *controlplane.Finding) error {
	of := familyOf(f.Object)
	var names []string
	var family []*controlplane.Finding
	for i := range x.findings {
		if other := &x.findings[i]; other.Kind == f.Kind && other.Cluster == f.Cluster && familyOf(other.Object) == of {
			names, family = append(names, other.Object), append(family, other)
		}
	}
	i := slices.IndexFunc(x.clusters, func(c controlplane.Cluster) bool { return c.Name == f.Cluster })
	if err := s.permit(ctx, by, f, nothing); err != nil {
		return err
	}
	err := s.fleet.AsControl(ctx, x.clusters[i].ID, func(control *pgx.Conn) error { return pg.DropUnusedRoles(ctx, control, of, names) })
	if err != nil {
		return err
	}
	for _, other := range family {
		other.Fixed = true
	}
	return nil
}

func (s *Service) takeBack(ctx context.Context, by controlplane.Actor, x *examination, f *controlplane.Finding) error {
	if err := s.permit(ctx, by, f, nothing); err != nil {
		return err
	}
	return s.rollouts.Sweep(ctx)
}

func (s *Service) resettle(ctx context.Context, by controlplane.Actor, x *examination, f *controlplane.Finding) error {
	return s.permit(ctx, by, f, func(tx *catalog.Tx) error { return s.tenants.Resettle(ctx, tx, f.TenantID) })
}
