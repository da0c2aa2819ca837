package release

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/shape"
)

// shapeWithin is how long building a schema in a scratch database may take.
const shapeWithin = 5 * time.Minute

// ShapeOf says which shape is meant: a schema that a release took from nothing
// to a version, on a major version of PostgreSQL.
type ShapeOf struct {
	ReleaseID string
	Version   string
	Major     int
}

// Shape is the fingerprint of a schema as a release makes it: as it was kept,
// since neither changes, or found out now in a scratch database of a cluster of
// that major version and kept.
func (s *Service) Shape(ctx context.Context, of ShapeOf, clusterID string) (fingerprint string, err error) {
	if known, ok := s.shapes.Load(of); ok {
		return known.(string), nil
	}
	made := s.shaping.DoChan(fmt.Sprint(of, clusterID), func() (any, error) {
		return s.shape(context.WithoutCancel(ctx), of, clusterID) // others wait for it, too
	})
	select {
	case r := <-made:
		if r.Err != nil {
			return "", r.Err
		}
		s.shapes.Store(of, r.Val)
		return r.Val.(string), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *Service) shape(ctx context.Context, of ShapeOf, clusterID string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, shapeWithin)
	defer cancel()
	row, err := s.keptShape(ctx, of)
	if err == nil {
		return row.Fingerprint, nil
	}
	if !ent.IsNotFound(err) {
		return "", err
	}
	parsed, err := s.Load(ctx, of.ReleaseID)
	if err != nil {
		return "", err
	}
	var print pg.Print
	var objects []pg.Object
	err = s.fleet.ScratchHome(ctx, clusterID, func(ctx context.Context, owner *pgx.Conn, schema string) error {
		if major := pg.MajorVersion(owner); major != of.Major {
			return fmt.Errorf("the cluster is at PostgreSQL %d now, not %d", major, of.Major)
		}
		if err := parsed.Build(ctx, owner, schema, of.Version); err != nil {
			return err
		}
		if print, err = pg.Fingerprint(ctx, owner, schema); err != nil {
			return err
		}
		objects, err = pg.Objects(ctx, owner, schema)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("find out what the release makes of a schema at %s: %w", of.Version, err)
	}
	raw, err := json.Marshal(objects)
	if err != nil {
		return "", fmt.Errorf("encode the objects of version %s: %w", of.Version, err)
	}
	err = s.cat.Ent().Shape.Create().SetReleaseID(of.ReleaseID).SetVersion(of.Version).SetMajor(of.Major).SetFingerprint(print.Hash).SetObjects(raw).
		OnConflict(sql.DoNothing()).Exec(ctx)
	if err := unlessKept(err); err != nil {
		return "", fmt.Errorf("keep what the release makes of a schema at %s: %w", of.Version, err)
	}
	return print.Hash, nil
}

// ShapeObjects are what a shape is made of that [Service.Shape] has found out.
func (s *Service) ShapeObjects(ctx context.Context, of ShapeOf) (objects []pg.Object, err error) {
	row, err := s.keptShape(ctx, of)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(row.Objects, &objects); err != nil {
		return nil, fmt.Errorf("decode the objects of version %s: %w", of.Version, err)
	}
	return objects, nil
}

func (s *Service) keptShape(ctx context.Context, of ShapeOf) (*ent.Shape, error) {
	row, err := s.cat.Ent().Shape.Query().Where(shape.ReleaseID(of.ReleaseID), shape.Version(of.Version), shape.Major(of.Major)).Only(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what a release makes of a schema at %s: %w", of.Version, err)
	}
	return row, nil
}
