package rollout

import (
	"context"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/ent"
)

// copyable reports whether a copy can be taken of a tenant, or need not be.
func (f *frozen) copyable() bool {
	return f.status.Done() || f.tenant.Isolation == controlplane.IsolationDatabase
}

// copyable refuses a rollout that is to take copies of tenants that share a
// database with others.
func copyable(n controlplane.NewRollout, targets []frozen) error {
	if n.Strategy.Snapshot == nil {
		return nil
	}
	shared := 0
	for i := range targets {
		if !targets[i].copyable() {
			shared++
		}
	}
	if shared == 0 {
		return nil
	}
	return controlplane.Errorf(controlplane.Refused, "no snapshot can be taken of %d of the selected tenants: they share a database with others", shared).
		WithHint(`leave them out: --select 'tenant.isolation == "database"'; a rollout of their own takes no snapshots`)
}

// snapshotsOf says what the copies of a rollout will take; nil: it takes none.
func (s *Service) snapshotsOf(ctx context.Context, n controlplane.NewRollout, targets []frozen) (*controlplane.SnapshotsPlanned, error) {
	if n.Strategy.Snapshot == nil {
		return nil, nil
	}
	planned := &controlplane.SnapshotsPlanned{}
	var made []string
	for _, t := range targets {
		if t.status.Done() {
			continue
		}
		planned.Count++
		if t.tenant.State != controlplane.TenantProvisioning {
			made = append(made, t.tenant.Placement.DatabaseID)
		}
	}
	var err error
	planned.Bytes, err = s.fleet.SizeOf(ctx, made)
	return planned, err
}

// snapshotsKept counts the copies of a rollout; nil: it takes none.
func (s *Service) snapshotsKept(ctx context.Context, row *ent.Rollout) (*controlplane.SnapshotsKept, error) {
	if row.Strategy.Snapshot == nil {
		return nil, nil
	}
	rows, err := s.fleet.Snapshots(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	kept := &controlplane.SnapshotsKept{}
	for _, r := range rows {
		if r.State == fleet.SnapshotDropping || r.ExpiresAt == nil {
			continue
		}
		kept.Count++
		kept.Bytes += r.Bytes
		if kept.Until == nil || r.ExpiresAt.Before(*kept.Until) {
			kept.Until = r.ExpiresAt
		}
	}
	return kept, nil
}

// wantCopies has the copies of a rollback put back.
func (u *undo) wantCopies(ctx context.Context, tx *catalog.Tx, id string) error {
	if len(u.copy) == 0 {
		return nil
	}
	n, err := fleet.WantRestored(ctx, tx, id, u.copy)
	if err == nil && n < len(u.copy) {
		err = controlplane.Errorf(controlplane.Conflict, "%d of the snapshots of rollout %s were dropped just now", len(u.copy)-n, id).
			WithHint("look again: `manor rollout rollback %s --restore --dry-run`", id)
	}
	return err
}

// restorable are the tenants of a rollout that a rollback takes back by their
// copies: if it is asked to, those that have one, and in any case those that it
// was begun with.
func (s *Service) restorable(ctx context.Context, row *ent.Rollout, asked bool) (map[string]bool, error) {
	if row.Strategy.Snapshot == nil {
		return nil, nil
	}
	rows, err := s.fleet.Snapshots(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	tenants := map[string]bool{}
	for _, r := range rows {
		if r.State == fleet.SnapshotRestoring || asked && r.State == fleet.SnapshotMade {
			tenants[r.TenantID] = true
		}
	}
	return tenants, nil
}
