package tenant

import (
	"context"
	"fmt"
	"time"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/work"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/tenant"
)

// Correction says where a tenant is, by its own revisions.
type Correction struct {
	TenantID  string
	Seen      time.Time // updated_at of the row that the tenant was compared with
	Version   string
	ReleaseID string
	Reason    string // for the audit log
}

// Correct stores where tenants are, and returns the ids of those that it
// corrected. One that changed since it was seen, is not settled or is an
// unfinished target is left alone: what is true of it is about to be said by
// whoever works on it.
func (s *Service) Correct(ctx context.Context, tx *catalog.Tx, by controlplane.Actor, corrections []Correction) (map[string]bool, error) {
	ids := make([]string, len(corrections))
	for i, c := range corrections {
		ids[i] = c.TenantID
	}
	rows, err := tx.Tenant.Query().Where(tenant.IDIn(ids...), tenant.Settled(true)).Order(tenant.ByID()).ForUpdate().All(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the tenants to correct: %w", err)
	}
	byID := make(map[string]*ent.Tenant, len(rows))
	for _, row := range rows {
		byID[row.ID] = row
	}
	// Asked after the rows were locked: a target that ended before has changed its row.
	engaged, err := tx.Target.Query().Where(target.TenantIDIn(ids...), target.StatusIn(controlplane.UnfinishedStatuses...)).
		Select(target.FieldTenantID).Strings(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for rollouts of the tenants to correct: %w", err)
	}
	for _, id := range engaged {
		delete(byID, id)
	}
	done := map[string]bool{}
	for _, c := range corrections {
		row := byID[c.TenantID]
		if row == nil || !row.UpdatedAt.Equal(c.Seen) {
			continue
		}
		if err := s.correct(ctx, tx, by, row, c); err != nil {
			return nil, err
		}
		done[c.TenantID] = true
	}
	return done, nil
}

func (s *Service) correct(ctx context.Context, tx *catalog.Tx, by controlplane.Actor, row *ent.Tenant, c Correction) error {
	detail := map[string]string{"from": row.Version, "to": c.Version, "reason": c.Reason}
	if err := s.guard.Permit(ctx, tx, by, "tenant.correct", row.Slug, detail); err != nil {
		return err
	}
	corrected, err := row.Update().SetVersion(c.Version).SetReleaseID(c.ReleaseID).SetFingerprint("").SetUpdatedAt(time.Now()).Save(ctx)
	if err != nil {
		return fmt.Errorf("correct tenant %s: %w", row.Slug, err)
	}
	return announce(ctx, tx, corrected)
}

// Resettle enqueues what brings the cluster to the state of tenants that are
// not settled.
func (s *Service) Resettle(ctx context.Context, tx *catalog.Tx, ids ...string) error {
	jobs := make([]work.Job, len(ids))
	for i, id := range ids {
		jobs[i] = convergeJob{Tenant: id}
	}
	return s.queue.Enqueue(ctx, tx, jobs...)
}
