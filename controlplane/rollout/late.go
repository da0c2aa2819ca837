package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/tenant"
	"github.com/manorhq/manor/ent"
)

// overlap is how long before a rollout's start a tenant may have begun to be
// created that the selection, frozen at that start, did not see.
const overlap = time.Minute

// welcome makes late targets of the selected tenants that were created since a
// running rollout froze its selection, and returns how many joined.
func welcome(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) (int, error) {
	if row.State != controlplane.RolloutRunning {
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
	joined := make([]frozen, len(tenants))
	for i := range tenants {
		joined[i] = freeze(&tenants[i], row.Version, releases)
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

// freeze is a tenant as it enters a rollout to a version.
func freeze(t *controlplane.Tenant, version string, releases map[string]string) frozen {
	status, reason := classify(t, version)
	return frozen{*t, status, reason, releases[t.Release]}
}
