package rollout

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/release"
)

// namedDifferences is how many objects a failed check names.
const namedDifferences = 3

// checked looks at the schema of a tenant that has arrived by its revisions: it
// must be what the release makes of an empty one. Otherwise an object is missing
// that the revisions promise, or somebody has changed it by hand.
func (s *Service) checked(ctx context.Context, l *lease, t leased, owner *fleet.Way, r result) result {
	if l.rollout.Strategy.Check == controlplane.CheckNone {
		return r
	}
	of := release.ShapeOf{ReleaseID: l.rollout.ReleaseID, Version: r.Version}
	var is pg.Print
	err := owner.Do(ctx, func(conn *pgx.Conn) (err error) {
		of.Major = pg.MajorVersion(conn)
		is, err = pg.Fingerprint(ctx, conn, t.placement.Schema)
		return err
	})
	if err != nil {
		return unchecked(l, t, r, err)
	}
	wanted, err := s.releases.Shape(ctx, of, t.ClusterID)
	if err != nil {
		return unchecked(l, t, r, err)
	}
	if r.Fingerprint = is.Hash; is.Hash == wanted {
		return r
	}
	differ, err := s.differences(ctx, t, owner, of)
	if err != nil {
		return unchecked(l, t, r, err)
	}
	return contradicted(r, differ)
}

// contradicted is a target that has arrived by its revisions, and whose schema
// says otherwise.
func contradicted(r result, differ []controlplane.ObjectDifference) result {
	r.Status = controlplane.TargetFailed
	r.Failure = &controlplane.Failure{Version: r.Version, Message: "its schema is not what the release makes of one: " + inWords(differ)}
	return r
}

// unchecked is a target that has arrived and could not be looked at: it comes
// back, and what it is at is known.
func unchecked(l *lease, t leased, arrived result, err error) result {
	t.was = controlplane.TargetRunning
	r := notReached(l, t, fmt.Errorf("it has arrived, and its schema cannot be checked: %w", err))
	r.Version, r.Origin, r.answered = arrived.Version, arrived.Origin, true
	return r
}

// differences are what is to be done to a tenant's schema so that it becomes
// what its release makes of one.
func (s *Service) differences(ctx context.Context, t leased, owner *fleet.Way, of release.ShapeOf) ([]controlplane.ObjectDifference, error) {
	want, err := s.releases.ShapeObjects(ctx, of)
	if err != nil {
		return nil, err
	}
	var have []pg.Object
	err = owner.Do(ctx, func(conn *pgx.Conn) (err error) {
		have, err = pg.Objects(ctx, conn, t.placement.Schema)
		return err
	})
	return pg.Compare(have, want), err
}

// inWords says how a schema differs, by its first objects.
func inWords(differ []controlplane.ObjectDifference) string {
	does := map[string]string{controlplane.DifferenceCreate: "is missing", controlplane.DifferenceDrop: "is not the release's", controlplane.DifferenceChange: "differs"}
	var texts []string
	for _, d := range differ[:min(len(differ), namedDifferences)] {
		texts = append(texts, d.Kind+" "+d.Name+" "+does[d.Do])
	}
	if more := len(differ) - namedDifferences; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more differ", more))
	}
	return strings.Join(texts, ", ")
}
