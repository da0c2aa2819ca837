package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/controlplane/tenant"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/target"
)

// overlap is how long before a rollout's start a tenant may have begun to be
// created that the selection, frozen at that start, did not see.
const overlap = time.Minute

// makingAfter is how long a rollout waits for homes in the making when all its
// other targets are done.
const makingAfter = 5 * time.Minute

// welcome makes late targets of the selected tenants that were created since a
// running rollout froze its selection and before it closed, and returns how many.
func welcome(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) (int, error) {
	if row.State != controlplane.RolloutRunning || row.ClosedAt != nil {
		return 0, nil
	}
	ids, err := newcomers(ctx, tx, row)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	tenants, err := tenant.Pick(ctx, tx.Client(), row.Selector, ids)
	if err != nil {
		return 0, err
	}
	releases, err := releaseIDs(ctx, tx.Client())
	if err != nil {
		return 0, err
	}
	l, err := compileLayout(row.Strategy)
	if err != nil {
		return 0, err
	}
	joined := make([]frozen, len(tenants))
	for i := range tenants {
		joined[i] = freeze(&tenants[i], row.Version, releases)
		if row.Strategy.Snapshot != nil && !joined[i].copyable() {
			joined[i].status, joined[i].reason = controlplane.TargetSkipped, noSnapshot
		}
		if joined[i].place, err = l.one(&tenants[i]); err != nil {
			return 0, err
		}
	}
	return len(joined), insertTargets(ctx, tx, row.ID, joined)
}

// newcomers are the tenants with a home, made or in the making, that were
// created since the start of a rollout and are no targets of it. Those that
// another rollout works on may join later.
func newcomers(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) (ids []string, err error) {
	err = tx.Conn(func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT n.id FROM tenants n
			WHERE n.created_at > $2 AND n.state IN ('provisioning', 'active', 'suspended')
			AND NOT EXISTS (SELECT FROM targets t WHERE t.tenant_id = n.id
				AND (t.rollout_id = $1 OR t.status IN ('pending', 'running', 'deferred', 'unknown')))`, row.ID, row.CreatedAt.Add(-overlap))
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for tenants created during rollout %s: %w", row.ID, err)
	}
	return ids, nil
}

// making counts the unfinished targets of a rollout whose homes are being made.
func making(ctx context.Context, tx *catalog.Tx, id string) (int, error) {
	n, err := tx.Target.Query().Where(target.RolloutID(id), target.StatusIn(controlplane.UnfinishedStatuses...), inTheMaking).Count(ctx)
	if err != nil {
		return 0, fmt.Errorf("count the homes in the making of rollout %s: %w", id, err)
	}
	return n, nil
}

// giveUp skips the targets whose homes are still being made long after their
// rollout was done with all others.
func giveUp(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, now time.Time) error {
	if row.ClosedAt == nil || now.Sub(*row.ClosedAt) < makingAfter {
		return nil
	}
	err := tx.Target.Update().Where(target.RolloutID(row.ID), target.StatusIn(controlplane.UnfinishedStatuses...), inTheMaking).
		SetStatus(controlplane.TargetSkipped).SetFailure(&controlplane.Failure{Message: "its home is still being made"}).SetUpdatedAt(now).Exec(ctx)
	if err != nil {
		return fmt.Errorf("skip the homes in the making of rollout %s: %w", row.ID, err)
	}
	return nil
}

// shut closes a rollout to newcomers, or a steady stream of them would keep it
// open for ever. If it has taken every tenant to its version, new ones start
// there from this moment on; homes in the making follow before they settle.
func shut(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, now time.Time) error {
	// From here on no tenant settles at the default that is about to be replaced.
	if err := release.LockDefault(ctx, tx); err != nil {
		return err
	}
	if _, err := welcome(ctx, tx, row); err != nil {
		return err
	}
	state, err := loadState(ctx, tx, row)
	if err != nil || !Next(state).Close {
		return err // somebody has come who is to be migrated first
	}
	if err := row.Update().SetClosedAt(now).Exec(ctx); err != nil {
		return fmt.Errorf("close rollout %s to newcomers: %w", row.ID, err)
	}
	return promote(ctx, tx, row)
}

// promote makes a rollout's version the default of new tenants, if it has taken
// every tenant there.
func promote(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) error {
	behind, err := tenantsElsewhere(ctx, tx, row.Version)
	if err != nil || behind {
		return err
	}
	return release.PromoteBy(ctx, tx, release.Default{ReleaseID: row.ReleaseID, Version: row.Version}, row.ID)
}

// freeze is a tenant as it enters a rollout to a version.
func freeze(t *controlplane.Tenant, version string, releases map[string]string) frozen {
	status, reason := classify(t, version)
	return frozen{tenant: *t, status: status, reason: reason, fromRelease: releases[t.Release]}
}
