package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/tenant"
)

const (
	snapshotSweep = 10 * time.Second
	// snapshotRest is for how long nobody touched a snapshot before the sweep does.
	snapshotRest = leaseTime
	sweptAtOnce  = 50
)

// care is what is to be done about a snapshot.
type care string

const (
	careOpen  care = "open"  // its database may be closed, and somebody goes on later
	careLeave care = "leave" // nobody goes on restoring it
	careDrop  care = "drop"
)

// inCare is a snapshot that something is to be done about.
type inCare struct {
	ID, TenantID string
	Care         care
}

// SweepSnapshots drops the copies whose time is over, or whose rollout has come
// to nothing, and opens the databases that a process left closed when it died.
// A copy that a rollout may still ask for stays.
func (s *Service) SweepSnapshots(ctx context.Context) error {
	found, err := s.inCare(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range found {
		_, err := s.cat.Alone(ctx, tenant.LockName(c.TenantID), func(ctx context.Context) error { return s.care(ctx, c) })
		if err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s of tenant %s: %w", c.ID, c.TenantID, err))
		}
	}
	return errors.Join(errs...)
}

// inCare are the snapshots that something is to be done about; of one, by id, or
// of all.
func (s *Service) inCare(ctx context.Context, id string) ([]inCare, error) {
	rows, _ := s.cat.Pool().Query(ctx, `SELECT s.id, s.tenant_id, CASE
			WHEN s.state = 'taking' AND t.open OR s.state = 'restoring' AND t.open THEN 'open'
			WHEN s.state = 'restoring' THEN 'leave' ELSE 'drop' END
		FROM snapshots s CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM targets t WHERE t.rollout_id = s.rollout_id AND t.tenant_id = s.tenant_id
			AND t.status IN ('pending', 'running', 'deferred', 'unknown')) AS open) t
		WHERE s.updated_at < clock_timestamp() - make_interval(secs => $1) AND $3 IN ('', s.id)
		AND (s.state IN ('taking', 'restoring', 'dropping') OR s.state = 'made' AND NOT t.open AND s.expires_at < clock_timestamp())
		ORDER BY s.updated_at LIMIT $2`, snapshotRest.Seconds(), sweptAtOnce, id)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[inCare])
	if err != nil {
		return nil, s.cat.Explain(fmt.Errorf("look for snapshots to see to: %w", err))
	}
	return found, nil
}

// care does what is to be done about a snapshot, and touches it: others come
// first the next time. The tenant is locked; what was found before that may be
// otherwise by now.
func (s *Service) care(ctx context.Context, c inCare) error {
	now, err := s.inCare(ctx, c.ID)
	if err != nil || len(now) == 0 || now[0] != c {
		return err
	}
	row, err := s.cat.Ent().Snapshot.Get(ctx, c.ID)
	if err != nil {
		return err
	}
	if row, err = row.Update().SetUpdatedAt(time.Now()).Save(ctx); err != nil {
		return err
	}
	switch {
	case row.State == fleet.SnapshotGone:
		return nil
	case c.Care == careDrop:
		return s.fleet.DropSnapshot(ctx, row)
	case c.Care == careLeave && row.State == fleet.SnapshotRestoring:
		return s.fleet.LeaveSnapshot(ctx, row)
	}
	return s.fleet.ReopenFor(ctx, row)
}
