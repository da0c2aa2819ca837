package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/cluster"
	"github.com/manorhq/manor/ent/database"
)

// ErrNoConnection says that all connections that Manor may have to a cluster are
// in use: those who asked are to come back later, and fewer at a time.
var ErrNoConnection = errors.New("all of Manor's connections are in use")

// Course is what a rollout has to know of a cluster before it starts something there.
type Course struct {
	Name  string
	State controlplane.ClusterState
	Flow  controlplane.Flow
}

// Courses returns those of all clusters, by id.
func Courses(ctx context.Context, client *ent.Client) (map[string]Course, error) {
	rows, err := client.Cluster.Query().All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the flow of the clusters: %w", err)
	}
	courses := make(map[string]Course, len(rows))
	for _, row := range rows {
		courses[row.ID] = courseOf(row)
	}
	return courses, nil
}

// LockCourse reads a cluster's and keeps it from changing until the
// transaction ends. Nothing that a rollout owns may be locked after it. The
// Course of a cluster that was removed is empty.
func LockCourse(ctx context.Context, tx *catalog.Tx, id string) (Course, error) {
	row, err := tx.Cluster.Query().Where(cluster.ID(id)).ForUpdate().Only(ctx)
	if ent.IsNotFound(err) {
		return Course{}, nil
	}
	if err != nil {
		return Course{}, fmt.Errorf("lock the flow of cluster %s: %w", id, err)
	}
	return courseOf(row), nil
}

// SetFlow stores a flow, and says so when an alarm comes or goes.
func SetFlow(ctx context.Context, tx *catalog.Tx, id string, was Course, flow controlplane.Flow) error {
	if err := tx.Cluster.UpdateOneID(id).SetFlow(flow).Exec(ctx); err != nil {
		return fmt.Errorf("store the flow of cluster %s: %w", was.Name, err)
	}
	if (was.Flow.Alarm == nil) == (flow.Alarm == nil) {
		return nil
	}
	return event.Emit(ctx, tx, controlplane.EventClusterFlow, id, controlplane.FlowEvent{Cluster: was.Name, Flow: flow})
}

func courseOf(row *ent.Cluster) Course {
	return Course{Name: row.Name, State: row.State, Flow: flowOf(row)}
}

// flowOf is a cluster's flow as it holds under its present number of
// connections. A new cluster begins at the ceiling.
func flowOf(row *ent.Cluster) controlplane.Flow {
	flow := row.Flow
	flow.Ceiling = ceiling(row.Connections)
	if flow.Alarm == nil {
		flow.Pace = min(cmp.Or(flow.Pace, flow.Ceiling), flow.Ceiling)
	}
	return flow
}

// unbounded is the ceiling where nobody has said how many connections there are.
const unbounded = 16

// ceiling is how many tenants rollouts may work on at a time with so many
// connections: the others are for provisioning and for looking.
func ceiling(connections int) int {
	if connections == 0 {
		return unbounded
	}
	return max(1, connections*3/4)
}

// SharedDatabases are the ids of the databases that tenants share.
func SharedDatabases(ctx context.Context, client *ent.Client) (map[string]bool, error) {
	ids, err := client.Database.Query().Where(database.Isolation(string(controlplane.IsolationSchema))).IDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the shared databases: %w", err)
	}
	shared := make(map[string]bool, len(ids))
	for _, id := range ids {
		shared[id] = true
	}
	return shared, nil
}

// ClusterNames are the names of the clusters by id.
func ClusterNames(ctx context.Context, client *ent.Client) (map[string]string, error) {
	rows, err := client.Cluster.Query().Select(cluster.FieldName).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the clusters' names: %w", err)
	}
	names := make(map[string]string, len(rows))
	for _, row := range rows {
		names[row.ID] = row.Name
	}
	return names, nil
}
