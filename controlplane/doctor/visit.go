package doctor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
)

const (
	// clustersAtOnce and databasesAtOnce, the latter per cluster, leave most of
	// the connections to those who work.
	clustersAtOnce  = 8
	databasesAtOnce = 4

	lookAtCluster  = 20 * time.Second
	lookAtDatabase = time.Minute
)

// visit goes to the clusters, several at once, and then to the databases of
// each. What cannot be reached is returned and holds nobody up. A cluster that
// does not answer is asked once.
type visit struct {
	fleet     *fleet.Service
	clusters  []controlplane.Cluster
	databases func(clusterID string) []*database // to go to, once the cluster was looked at
	residents map[string]int                     // tenants by cluster and by database

	atCluster func(ctx context.Context, c *controlplane.Cluster, control *pgx.Conn) error
	inside    func(ctx context.Context, d *database, owner *pgx.Conn) error

	mu     sync.Mutex
	missed []missed
}

// missed is what could not be reached; databaseID is "" where that is a cluster.
type missed struct {
	controlplane.Unreached
	databaseID string
}

// unreached is what people are told of what was missed.
func unreached(all []missed) []controlplane.Unreached {
	told := make([]controlplane.Unreached, len(all))
	for i, m := range all {
		told[i] = m.Unreached
	}
	return told
}

func (v *visit) run(ctx context.Context) ([]missed, error) {
	var work errgroup.Group
	work.SetLimit(clustersAtOnce)
	for i := range v.clusters {
		work.Go(func() error { v.cluster(ctx, &v.clusters[i]); return nil })
	}
	_ = work.Wait()
	slices.SortFunc(v.missed, func(a, b missed) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Database, b.Database))
	})
	return v.missed, context.Cause(ctx)
}

func (v *visit) cluster(ctx context.Context, c *controlplane.Cluster) {
	if err := v.lookAt(ctx, c); err != nil {
		v.miss(controlplane.Unreached{Cluster: c.Name, Tenants: v.residents[c.ID], Error: toldOf(err)}, "")
		return
	}
	var work errgroup.Group
	work.SetLimit(databasesAtOnce)
	for _, d := range v.databases(c.ID) {
		work.Go(func() error {
			if err := v.lookInto(ctx, d); err != nil {
				v.miss(controlplane.Unreached{Cluster: c.Name, Database: d.Name, Tenants: v.residents[d.ID], Error: toldOf(err)}, d.ID)
			}
			return nil
		})
	}
	_ = work.Wait()
}

func (v *visit) lookAt(ctx context.Context, c *controlplane.Cluster) error {
	if c.State == controlplane.ClusterOffline {
		return controlplane.Errorf(controlplane.Refused, "cluster %s is offline", c.Name).
			WithHint("`manor cluster set %s --state active` brings it back", c.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, lookAtCluster)
	defer cancel()
	asControl := func(f func(*pgx.Conn) error) error { return v.fleet.AsControl(ctx, c.ID, f) }
	return twice(asControl, func(control *pgx.Conn) error { return v.atCluster(ctx, c, control) })
}

func (v *visit) lookInto(ctx context.Context, d *database) error {
	ctx, cancel := context.WithTimeout(ctx, lookAtDatabase)
	defer cancel()
	asOwner := func(f func(*pgx.Conn) error) error { return v.fleet.AsOwner(ctx, d.ID, f) }
	return twice(asOwner, func(owner *pgx.Conn) error { return v.inside(ctx, d, owner) })
}

// twice looks a second time when the connection broke: it may have been in the
// pool since before the server was restarted.
func twice(lend func(func(*pgx.Conn) error) error, look func(*pgx.Conn) error) error {
	broken := false
	lent := func(conn *pgx.Conn) error {
		err := look(conn)
		broken = conn.IsClosed()
		return err
	}
	err := lend(lent)
	if err != nil && broken {
		err = lend(lent)
	}
	return err
}

func (v *visit) miss(u controlplane.Unreached, databaseID string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.missed = append(v.missed, missed{u, databaseID})
}

// toldOf is an error as it is told to people.
func toldOf(err error) *controlplane.Error {
	if e, ok := errors.AsType[*controlplane.Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return controlplane.Errorf(controlplane.Unavailable, "no answer in time").WithHint("try again")
	}
	return controlplane.Errorf(controlplane.Unavailable, "%w", err)
}

// residentsOf counts the tenants of each cluster and of each database, by id.
func residentsOf(residents []resident) map[string]int {
	n := map[string]int{}
	for i := range residents {
		n[residents[i].ClusterID]++
		n[residents[i].DatabaseID]++
	}
	return n
}
