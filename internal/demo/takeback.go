package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/manorhq/manor/controlplane"
)

func (d *demo) takeBack(ctx context.Context) (string, error) {
	err := inOrder(ctx, d.mend, d.retry, d.rollback, d.fingerprintAfter)
	return fmt.Sprintf("the one succeeds; all %d taken back, with equal fingerprints and rows", allTenants), err
}

func (d *demo) mend(ctx context.Context) error {
	d.say("The tenant mends its data, through its own login:\n")
	return d.show(ctx, d.sessions[importer], "UPDATE issues SET estimate_minutes = NULL WHERE estimate_minutes < 0")
}

func (d *demo) retry(ctx context.Context) error {
	d.say("\nA retry works on the failed ones only:")
	if err := d.manor(ctx, "rollout", "retry", d.rollout); err != nil {
		return err
	}
	if err := d.rolloutIs(ctx, controlplane.RolloutSucceeded, controlplane.TargetSucceeded); err != nil {
		return err
	}
	return d.fleetIs(ctx, map[string]int{d.last(): allTenants})
}

func (d *demo) rollback(ctx context.Context) error {
	d.say("\nAnd now everybody back to where they were. Version 21 has a down file; the reverse of version 22 is computed:")
	if err := d.manor(ctx, "rollout", "rollback", d.rollout); err != nil {
		return err
	}
	if err := d.rolloutIs(ctx, controlplane.RolloutRolledBack, controlplane.TargetRolledBack); err != nil {
		return err
	}
	if err := d.manor(ctx, "status"); err != nil {
		return err
	}
	return d.fleetIs(ctx, map[string]int{d.first(): allTenants})
}

// rolloutIs expects the rollout in a state, and all its targets in one status.
func (d *demo) rolloutIs(ctx context.Context, state controlplane.RolloutState, status controlplane.TargetStatus) error {
	var r controlplane.Rollout
	if err := d.read(ctx, &r, "rollout", "show", d.rollout); err != nil {
		return err
	}
	want := controlplane.Counts{status: allTenants}
	return check(d.screen, fmt.Sprintf("the rollout %s: %s", strings.ReplaceAll(string(state), "_", " "), want),
		string(r.State)+": "+r.Counts.String(), string(state)+": "+want.String())
}

// fingerprintAfter proves that schemas and rows are as before.
func (d *demo) fingerprintAfter(ctx context.Context) error {
	d.say("\nThe fingerprints again:")
	if err := d.manor(ctx, "tenant", "fingerprint"); err != nil {
		return err
	}
	var after controlplane.Page[controlplane.FingerprintGroup]
	if err := d.read(ctx, &after, "tenant", "fingerprint"); err != nil {
		return err
	}
	if err := check(d.screen, fmt.Sprintf("proved: the schemas of all %d tenants equal those before the rollout", allTenants), prints(after.Items), prints(d.before.Items)); err != nil {
		return err
	}
	rows, err := d.issues(ctx)
	if err != nil {
		return err
	}
	return check(d.screen, "no issue was lost on the way there and back", counts(rows), counts(d.rows))
}

// prints writes groups of fingerprints so that two lists can be compared. Examples are left out: any will do.
func prints(groups []controlplane.FingerprintGroup) string {
	var lines []string
	for _, g := range groups {
		lines = append(lines, fmt.Sprintf("%d tenants at %s on PostgreSQL %d: %s", g.Tenants, g.Version, g.Server, g.Fingerprint))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// atVersions writes "219 at 20261012090000, 1 at 20260907090000", newest first.
func atVersions(m map[string]int) string {
	var parts []string
	for _, v := range slices.Backward(slices.Sorted(maps.Keys(m))) {
		parts = append(parts, fmt.Sprintf("%d at %s", m[v], v))
	}
	return strings.Join(parts, ", ")
}
