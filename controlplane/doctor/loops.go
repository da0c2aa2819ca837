package doctor

import (
	"fmt"
	"strconv"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// stuckAfter is how long making, closing or removing a home may take before
// somebody asks.
const stuckAfter = 10 * time.Minute

// loops finds what is in the catalog's own rows: work that nobody does.
func (c *comparison) loops() {
	for _, l := range c.after.leases {
		c.add(controlplane.Finding{Kind: controlplane.FindingExpiredLease, Cluster: c.after.clusterName(l.Cluster), Object: l.Rollout + "/" + strconv.Itoa(l.Batch),
			Message: fmt.Sprintf("batch %d of rollout %s is held by %s, whose lease ran out %s ago", l.Batch, l.Rollout, l.Worker, since(c.after.at, l.Until)),
			Remedy:  "take it back, for the next worker", Advice: "see that a worker runs: `manor worker list`"})
	}
	for _, w := range c.after.workers {
		c.add(controlplane.Finding{Kind: controlplane.FindingSilentWorker, Object: w.ID,
			Message: fmt.Sprintf("worker %s was last heard of %s ago", w.ID, since(c.after.at, w.SeenAt)),
			Advice:  "see whether its process lives; what it held is taken over without it"})
	}
	for i := range c.after.residents {
		c.unsettled(&c.after.residents[i])
	}
}

// unsettled finds tenants whose home nobody brings to where it is wanted.
func (c *comparison) unsettled(r *resident) {
	if r.Settled {
		return
	}
	rests := c.after.at.Sub(r.UpdatedAt) > grace && !r.Attended && c.unchanged(r)
	overdue := c.after.at.Sub(r.WantedAt) > stuckAfter
	f := c.about(controlplane.FindingUnsettledTenant, r)
	switch {
	case r.State == controlplane.TenantProvisioning && overdue:
		f.Kind = controlplane.FindingStuckTenant
		f.Message = fmt.Sprintf("tenant %s has been in provisioning for %s", r.Slug, since(c.after.at, r.WantedAt))
	case rests:
		f.Message = fmt.Sprintf("tenant %s is %s, and its home is not: nobody has worked on it for %s", r.Slug, r.State, since(c.after.at, r.UpdatedAt))
	case overdue:
		f.Kind = controlplane.FindingStuckTenant
		f.Message = fmt.Sprintf("tenant %s is to be %s for %s, and its home is not yet", r.Slug, r.State, since(c.after.at, r.WantedAt))
	default:
		return
	}
	if r.Failure != "" {
		f.Message += ": " + r.Failure
	}
	if rests {
		f.Remedy = "have a worker go on with it"
		f.Advice = "see that a worker runs: `manor worker list`"
	} else {
		f.Advice = "Manor tries again by itself; mend what keeps it from it"
	}
	c.add(f)
}

// notes are what is known of a cluster without looking at it.
func (c *comparison) notes(cluster *controlplane.Cluster) {
	if a := cluster.Flow.Alarm; a != nil {
		c.add(controlplane.Finding{Kind: controlplane.FindingAlarm, Cluster: cluster.Name,
			Message: fmt.Sprintf("nothing is started on cluster %s since %s ago: %s", cluster.Name, since(c.after.at, a.Since), a.Message),
			Advice:  "mend the cluster; a tenant is tried every now and then, and the first success ends the alarm"})
	}
	for _, step := range cluster.Skipped {
		c.add(controlplane.Finding{Kind: controlplane.FindingHardening, Cluster: cluster.Name, Object: step, Note: true,
			Message: "cluster " + cluster.Name + " is not hardened: " + step,
			Advice:  "a superuser can do it"})
	}
}

// since is how long ago something was, in seconds or minutes.
func since(now, then time.Time) string {
	d := now.Sub(then)
	if d < 2*time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
