package main

import (
	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/rollout"
)

// machine is what has states, in one or several drawings.
type machine struct {
	title, text string
	drawings    []drawing
}

var machines = []machine{
	{"Rollouts", "`controlplane/rollout.go`. A rollout rests in paused, succeeded, failed, aborted and rolled_back: nothing\n" +
		"more happens to it without an operator. What comes next is decided by the pure function `rollout.Next`.", []drawing{{
		states: names(controlplane.RolloutStates), starts: []string{string(controlplane.RolloutPlanned)},
		moves: func(from, to string) bool {
			return controlplane.RolloutState(from).CanBecome(controlplane.RolloutState(to))
		},
		why: map[string]string{
			"planned running":          "started",
			"planned aborted":          "given up",
			"running paused":           "a failure, on-error pause",
			"running succeeded":        "every tenant is there",
			"running failed":           "some are not",
			"running aborted":          "given up",
			"running rolling_back":     "a failure, on-error rollback",
			"paused running":           "resume, retry",
			"paused aborted":           "given up",
			"paused rolling_back":      "rollback",
			"succeeded rolling_back":   "rollback",
			"failed running":           "retry",
			"failed rolling_back":      "rollback",
			"aborted rolling_back":     "rollback",
			"rolling_back rolled_back": "nothing of it stands",
			"rolling_back failed":      "some could not be taken back",
			"rolling_back succeeded":   "one tenant was taken back",
			"rolling_back paused":      "one tenant was taken back",
			"rolled_back rolling_back": "rollback",
		}}}},
	{"Targets", "`controlplane/target.go`. A target is one tenant in one rollout. The first drawing is the way there, the second the way\n" +
		"back, which begins where the first one left the target.", []drawing{there, back}},
	{"Batches", "`controlplane/rollout/states.go`. A batch is the targets that one worker works through under one lease. A target that comes\n" +
		"back later leaves its batch and is put into another.", []drawing{{
		states: rollout.BatchStates, starts: rollout.BatchStates[:1], moves: rollout.BatchCanBecome,
		why: map[string]string{
			"waiting queued": "the limits allow it",
			"waiting done":   "rollback",
			"queued queued":  "nobody took it within a lease",
			"queued running": "leased under a new epoch",
			"queued waiting": "nothing more is to be started",
			"running done":   "the last report, or the lease ran out",
		}}}},
	{"Tenants", "`controlplane/tenant.go`. The state says what is wanted; whether the cluster has been brought to it is `settled`.", []drawing{{
		states: names(controlplane.TenantStates), starts: []string{string(controlplane.TenantProvisioning)},
		moves: func(from, to string) bool {
			return controlplane.TenantState(from).CanBecome(controlplane.TenantState(to))
		},
		why: map[string]string{
			"provisioning active":  "its home is made",
			"provisioning failed":  "its home cannot be made",
			"provisioning deleted": "purge",
			"active suspended":     "suspend",
			"active deleting":      "delete",
			"suspended active":     "resume",
			"suspended deleting":   "delete",
			"deleting active":      "resume",
			"deleting deleted":     "purge",
			"failed deleted":       "purge",
		}}}},
}

var there = drawing{
	states: names(controlplane.TargetStatuses), starts: starts(), moves: moving(controlplane.Up),
	why: map[string]string{
		"pending running":           "its batch is leased",
		"pending skipped":           "rolled back before its turn",
		"pending needs_attention":   "cannot be undone",
		"running pending":           "given back, not begun",
		"running deferred":          "not now",
		"running unknown":           "no answer, or the lease ran out",
		"running succeeded":         "at the version",
		"running current":           "was there already",
		"running skipped":           "not to be migrated",
		"running failed":            "refused by PostgreSQL",
		"running needs_attention":   "what was done to it cannot be seen",
		"deferred running":          "its batch is leased",
		"deferred skipped":          "rolled back before its turn",
		"deferred needs_attention":  "cannot be undone",
		"unknown running":           "its batch is leased",
		"unknown needs_attention":   "cannot be undone",
		"succeeded needs_attention": "cannot be undone",
		"skipped pending":           "retry",
		"failed pending":            "retry",
		"failed needs_attention":    "cannot be undone",
	},
}

var back = drawing{
	states: names(controlplane.TargetStatuses), moves: moving(controlplane.Down),
	turns: func(from, to string) bool {
		return controlplane.TargetStatus(from).CanTurn(controlplane.TargetStatus(to))
	},
	why: map[string]string{
		"pending running":         "its batch is leased",
		"running pending":         "given back, not begun",
		"running deferred":        "not now",
		"running unknown":         "no answer, or the lease ran out",
		"running skipped":         "its tenant is gone",
		"running rolled_back":     "where it was before",
		"running needs_attention": "refused, or not where the rollout left it",
		"deferred running":        "its batch is leased",
		"unknown running":         "its batch is leased",
		"needs_attention pending": "rollback again",
	},
}

func moving(d controlplane.Direction) func(from, to string) bool {
	return func(from, to string) bool {
		return controlplane.TargetStatus(from).CanBecome(controlplane.TargetStatus(to), d)
	}
}

// starts are the statuses that a target may enter a rollout with.
func starts() (first []string) {
	for _, s := range controlplane.TargetStatuses {
		if controlplane.TargetStatus("").CanBecome(s, controlplane.Up) {
			first = append(first, string(s))
		}
	}
	return first
}

func names[S ~string](states []S) []string {
	out := make([]string, len(states))
	for i, s := range states {
		out[i] = string(s)
	}
	return out
}
