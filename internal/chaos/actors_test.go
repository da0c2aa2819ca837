package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// tolerable drops the error of a door that is closed for a reason of today's: a
// tenant is in another rollout, or in another state than a moment ago.
func tolerable(err error) error {
	switch controlplane.CodeOf(err) {
	case controlplane.Conflict, controlplane.Refused, controlplane.NotFound:
		return nil
	}
	return err
}

// rollingOut takes everybody up and, the last one first, back.
func (s *storm) rollingOut(ctx context.Context, rng *rand.Rand) error {
	var standing []string // rollouts that were not taken back
	for ctx.Err() == nil {
		var r *controlplane.Rollout
		var err error
		if top := len(standing) - 1; top >= 0 && rng.IntN(3) > 0 {
			r, err = s.RollbackRollout(ctx, standing[top], controlplane.RollbackRequest{})
			standing = standing[:top]
		} else if r, err = s.StartRollout(ctx, anyRollout(rng)); err == nil {
			standing = append(standing, r.ID)
		}
		if err != nil {
			if err = tolerable(err); err != nil {
				return err
			}
			pause(ctx, rng, time.Second)
			continue
		}
		sum.rollouts.Add(1)
		if err := s.resting(ctx, r.ID, rng); err != nil {
			return err
		}
	}
	return nil
}

func anyRollout(rng *rand.Rand) controlplane.NewRollout {
	return controlplane.NewRollout{
		Release: "v2", Version: []string{"3", "4", "5"}[rng.IntN(3)], BatchSize: 1 + rng.IntN(6), Concurrency: 1 + rng.IntN(8),
		OnError: controlplane.OnErrors[rng.IntN(len(controlplane.OnErrors))],
	}
}

// resting waits until a rollout rests; its targets add up whenever it is asked.
// One that is paused is resumed.
func (s *storm) resting(ctx context.Context, id string, rng *rand.Rand) error {
	for ctx.Err() == nil {
		r, err := s.ShowRollout(ctx, id)
		switch {
		case err != nil:
			return err
		case r.Counts.Sum() != r.Targets:
			return fmt.Errorf("the targets of rollout %s add up to %d, not %d: %s", id, r.Counts.Sum(), r.Targets, r.Counts)
		case r.State == controlplane.RolloutPaused:
			_, err = s.ResumeRollout(ctx, id)
			err = tolerable(err)
		case r.State.Resting():
			return nil
		}
		if err != nil {
			return err
		}
		pause(ctx, rng, 200*time.Millisecond)
	}
	return nil
}

// movingIn has tenants come and go, and shuts them out for a while.
func (s *storm) movingIn(ctx context.Context, rng *rand.Rand) error {
	for n := 0; ctx.Err() == nil; n++ {
		page, err := s.ListTenants(ctx, controlplane.TenantQuery{Limit: 1000})
		if err != nil {
			return err
		}
		if len(page.Items) < 24 && rng.IntN(3) == 0 {
			err = s.moveIn(ctx, fmt.Sprintf("later-%04d", n), rng)
		} else if len(page.Items) > 0 {
			err = s.change(ctx, page.Items[rng.IntN(len(page.Items))], rng)
		}
		if err = tolerable(err); err != nil {
			return err
		}
		pause(ctx, rng, 600*time.Millisecond)
	}
	return nil
}

func (s *storm) moveIn(ctx context.Context, slug string, rng *rand.Rand) error {
	isolation := controlplane.Isolations[rng.IntN(len(controlplane.Isolations))]
	results, err := s.CreateTenants(ctx, []controlplane.NewTenant{{Slug: slug, Isolation: isolation}}, false)
	if err != nil {
		return err
	}
	sum.tenants.Add(1)
	if results[0].Error != nil {
		return results[0].Error
	}
	return nil
}

// change moves a tenant to another state.
func (s *storm) change(ctx context.Context, tenant controlplane.Tenant, rng *rand.Rand) (err error) {
	switch {
	case tenant.State == controlplane.TenantSuspended:
		_, err = s.ResumeTenant(ctx, tenant.Slug, false)
	case tenant.State == controlplane.TenantDeleting:
		_, err = s.PurgeTenant(ctx, tenant.Slug, tenant.Slug, false)
	case tenant.State == controlplane.TenantActive && rng.IntN(4) > 0:
		_, err = s.SuspendTenant(ctx, tenant.Slug, false)
	case tenant.State == controlplane.TenantActive:
		_, err = s.DeleteTenant(ctx, tenant.Slug, false)
	}
	return err
}

// using is what applications do meanwhile: long reads that migrations wait for,
// and rows that the next version refuses, for a while. Nothing of it need work.
func (s *storm) using(ctx context.Context, rng *rand.Rand) error {
	for ctx.Err() == nil {
		page, err := s.ListTenants(ctx, controlplane.TenantQuery{Limit: 1000})
		if err != nil {
			return err
		}
		if len(page.Items) > 0 {
			s.use(ctx, page.Items[rng.IntN(len(page.Items))], rng)
		}
		pause(ctx, rng, time.Second)
	}
	return nil
}

func (s *storm) use(ctx context.Context, tenant controlplane.Tenant, rng *rand.Rand) {
	server := s.clusters[tenant.Cluster]
	if server == nil {
		return
	}
	notes := tenant.Placement.Schema + ".notes"
	statement := []string{
		"UPDATE " + notes + " SET stars = -1 WHERE id = 1",
		"UPDATE " + notes + " SET stars = 5 WHERE id = 1",
		fmt.Sprintf("BEGIN; LOCK TABLE %s IN ACCESS SHARE MODE; SELECT pg_sleep(%f); COMMIT", notes, rng.Float64()),
	}[rng.IntN(3)]
	_ = connected(ctx, server.URL(tenant.Placement.Database), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement)
		return err
	})
}
