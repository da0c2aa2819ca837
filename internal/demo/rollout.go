package main

import (
	"context"
	"fmt"

	"github.com/manorhq/manor/controlplane"
)

func (d *demo) rollOut(ctx context.Context) (string, error) {
	err := inOrder(ctx, d.fingerprintBefore, d.pushSecond, d.startRollout, d.checkRollout, d.checkStatus)
	return fmt.Sprintf("%d succeed, 1 fails (SQLSTATE %s); nobody else is disturbed", allTenants-1, checkViolation), err
}

func (d *demo) fingerprintBefore(ctx context.Context) error {
	d.say("A fingerprint is a hash of a tenant's schema as PostgreSQL has it. Before the rollout all are equal:")
	if err := d.manor(ctx, "tenant", "fingerprint"); err != nil {
		return err
	}
	return d.read(ctx, &d.before, "tenant", "fingerprint")
}

func (d *demo) pushSecond(ctx context.Context) error {
	d.say("\nRelease 2 adds two versions: a column, an index and a check on estimates; and a table with two indexes.")
	return d.manor(ctx, "release", "push", d.migrations, "--name", "v2", "--extension", "citext,pgcrypto")
}

// startRollout expects the one failure, while users of twelve tenants keep on writing.
func (d *demo) startRollout(ctx context.Context) error {
	d.say("\nOver to everybody, while the users of %d tenants keep on writing. One tenant fails, so the exit code is %d:", len(d.sessions), exitSomeFailed)
	w := d.startWriters(ctx)
	err := d.manorEnds(ctx, exitSomeFailed, "", "rollout", "start", "--release", "v2", "--batch-size", "20", "--concurrency", "8", "--wait")
	w.stop()
	if err != nil {
		return err
	}
	d.proved(fmt.Sprintf("exit code %d", exitSomeFailed))
	return d.tellWriters(w)
}

// checkRollout holds rollout and failed target against what was said.
func (d *demo) checkRollout(ctx context.Context) error {
	var rollouts controlplane.Page[controlplane.Rollout]
	if err := d.read(ctx, &rollouts, "rollout", "list"); err != nil {
		return err
	}
	if len(rollouts.Items) != 1 {
		return fmt.Errorf("not so: there is one rollout: there are %d", len(rollouts.Items))
	}
	r := rollouts.Items[0]
	d.rollout = r.ID
	want := controlplane.Counts{controlplane.TargetSucceeded: allTenants - 1, controlplane.TargetFailed: 1}
	if err := same(d.screen, r.Counts.String(), want.String()); err != nil {
		return err
	}
	d.say("\nWhere it failed: file, statement, SQLSTATE. PostgreSQL gives a position in the statement for what is wrong with")
	d.say("the statement itself, and none for what is wrong with the data, as here. The tenant stays at version %s.", d.first())
	if err := d.manor(ctx, "rollout", "targets", d.rollout, "--status", "failed"); err != nil {
		return err
	}
	return d.checkFailure(ctx)
}

func (d *demo) checkFailure(ctx context.Context) error {
	var failed controlplane.Page[controlplane.Target]
	if err := d.read(ctx, &failed, "rollout", "targets", d.rollout, "--status", "failed"); err != nil {
		return err
	}
	if len(failed.Items) != 1 || failed.Items[0].Failure == nil {
		return fmt.Errorf("not so: one target has failed and says why: %+v", failed.Items)
	}
	t := failed.Items[0]
	got := fmt.Sprintf("%s: SQLSTATE %s in version %s, statement %d; it is at version %s", t.Tenant, t.Failure.SQLState, t.Failure.Version, t.Failure.Statement, t.Version)
	want := fmt.Sprintf("%s: SQLSTATE %s in version %s, statement %d; it is at version %s", importer, checkViolation, d.versions[releaseOne], refusedStatement, d.first())
	return same(d.screen, got, want)
}

// refusedStatement is the one of version 21 that validates the check.
const refusedStatement = 4

func (d *demo) checkStatus(ctx context.Context) error {
	if err := d.manor(ctx, "status"); err != nil {
		return err
	}
	return d.fleetIs(ctx, map[string]int{d.last(): allTenants - 1, d.first(): 1})
}

// fleetIs holds the versions in the status against what was said.
func (d *demo) fleetIs(ctx context.Context, want map[string]int) error {
	var status controlplane.FleetStatus
	if err := d.read(ctx, &status, "status"); err != nil {
		return err
	}
	got := map[string]int{}
	for _, v := range status.Versions {
		got[v.Version] += v.Tenants
	}
	return check(d.screen, "the status tells it: "+atVersions(want), atVersions(got), atVersions(want))
}
