package migrator

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
)

// Build takes an empty scratch schema to a version. Nothing is written down in
// it: what it is made of then is what the release makes of a tenant's.
func (r *Release) Build(ctx context.Context, scratch *pgx.Conn, schema, version string) (err error) {
	defer recovered("build a schema", &err)
	if r.index(version) < -1 {
		return controlplane.Errorf(controlplane.NotFound, "the release holds no version %s", version)
	}
	a := &atlas{conn: scratch, schema: schema}
	if err := a.enter(ctx); err != nil {
		return err
	}
	for _, f := range r.files[:r.index(version)+1] {
		if err := a.replay(ctx, f); err != nil {
			return err
		}
	}
	return nil
}
