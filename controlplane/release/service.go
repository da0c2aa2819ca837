package release

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/access"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/ent"
)

// Service is the release room.
type Service struct {
	cat    *catalog.Catalog
	fleet  *fleet.Service
	guard  access.Guard
	parsed sync.Map     // release id → *migrator.Release; releases never change
	loaded atomic.Int64 // releases that were put into parsed

	shapes  sync.Map           // ShapeOf → fingerprint; neither changes
	shaping singleflight.Group // those being found out
}

// New furnishes the room.
func New(cat *catalog.Catalog, f *fleet.Service) *Service { return &Service{cat: cat, fleet: f} }

// Push stores a release. Pushing the same content under the same name again
// changes nothing; a file that differs from the one pushed before is refused.
// The first release pushed becomes the default.
func (s *Service) Push(ctx context.Context, by controlplane.Actor, n controlplane.NewRelease) (*controlplane.Release, error) {
	if err := s.guard.See(by, "release.push", n.Name); err != nil {
		return nil, err
	}
	if err := controlplane.ValidateName("release", n.Name); err != nil {
		return nil, err
	}
	parsed, err := migrator.Parse(n.Files)
	if err != nil {
		return nil, err
	}
	if had, err := s.again(ctx, n, parsed); had != nil || err != nil {
		return had, err
	}
	if err := s.unedited(ctx, parsed); err != nil {
		return nil, err
	}
	if n.DryRun {
		return preview(n, by, parsed), nil
	}
	var row *ent.Release
	var def Default
	err = s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "release.push", n.Name, map[string]string{"hash": parsed.Hash()}); err != nil {
			return err
		}
		if row, err = insert(ctx, tx, n, by, parsed); err != nil {
			return err
		}
		if def, err = DefaultIn(ctx, tx); err != nil {
			return err
		}
		if def.ReleaseID == "" {
			def = Default{ReleaseID: row.ID, Version: last(row.Versions)}
			if err := setDefault(ctx, tx, def); err != nil {
				return err
			}
		}
		return event.Emit(ctx, tx, controlplane.EventReleasePushed, row.ID, map[string]string{"name": n.Name})
	})
	if err != nil {
		return nil, err
	}
	s.keep(row.ID, parsed)
	return noun(row, def), nil
}

// preview is what a dry run of Push answers.
func preview(n controlplane.NewRelease, by controlplane.Actor, parsed *migrator.Release) *controlplane.Release {
	return &controlplane.Release{Name: n.Name, Hash: parsed.Hash(), Versions: parsed.Versions(), Extensions: n.Extensions, CreatedBy: by.String()}
}

// again answers a push of what is there already: the release itself when the
// name fits, a conflict when it does not.
func (s *Service) again(ctx context.Context, n controlplane.NewRelease, parsed *migrator.Release) (*controlplane.Release, error) {
	row, err := byNameOrHash(ctx, s.cat.Ent(), n.Name, parsed.Hash())
	if row == nil || err != nil {
		return nil, err
	}
	switch {
	case row.Name == n.Name && row.Hash == parsed.Hash():
		def, err := s.Default(ctx)
		return noun(row, def), err
	case row.Name == n.Name:
		return nil, controlplane.Errorf(controlplane.Conflict, "release %s exists with other content", n.Name).
			WithHint("releases never change: push it under a new name")
	default:
		return nil, controlplane.Errorf(controlplane.Conflict, "this content is release %s already", row.Name)
	}
}

// unedited refuses a release in which a file differs from the one of the same
// version in an earlier release.
func (s *Service) unedited(ctx context.Context, parsed *migrator.Release) error {
	rows, err := s.cat.Ent().Release.Query().Select("id", "name").All(ctx)
	if err != nil {
		return fmt.Errorf("read the releases: %w", err)
	}
	files := parsed.Files()
	for _, row := range rows {
		before, err := s.Load(ctx, row.ID)
		if err != nil {
			return err
		}
		had := before.Files()
		for _, v := range parsed.Versions() {
			if content, ok := had[v.Name]; ok && string(content) != string(files[v.Name]) {
				return controlplane.Errorf(controlplane.Refused, "%s was edited after it was pushed with release %s", v.Name, row.Name).
					WithHint("tenants may have run it: restore the file and put the change into a new version")
			}
		}
	}
	return nil
}

// List returns all releases, newest first.
func (s *Service) List(ctx context.Context, by controlplane.Actor) ([]controlplane.Release, error) {
	if err := s.guard.See(by, "release.list", ""); err != nil {
		return nil, err
	}
	rows, err := all(ctx, s.cat.Ent())
	if err != nil {
		return nil, err
	}
	def, err := s.Default(ctx)
	if err != nil {
		return nil, err
	}
	releases := make([]controlplane.Release, len(rows))
	for i, row := range rows {
		releases[i] = *noun(row, def)
	}
	return releases, nil
}

// Show returns one release.
func (s *Service) Show(ctx context.Context, by controlplane.Actor, name string) (*controlplane.Release, error) {
	if err := s.guard.See(by, "release.show", name); err != nil {
		return nil, err
	}
	return ByName(ctx, s.cat.Ent(), name)
}

// ByName reads a release with any client, a transaction's too.
func ByName(ctx context.Context, client *ent.Client, name string) (*controlplane.Release, error) {
	row, err := byName(ctx, client, name)
	if err != nil {
		return nil, err
	}
	def, err := readDefault(ctx, client)
	return noun(row, def), err
}

// First is the release that new tenants start at, or nil while there is none.
func (s *Service) First(ctx context.Context) (*controlplane.Release, error) {
	def, err := s.Default(ctx)
	if err != nil || def.ReleaseID == "" {
		return nil, err
	}
	row, err := s.cat.Ent().Release.Get(ctx, def.ReleaseID)
	if err != nil {
		return nil, fmt.Errorf("read the default release: %w", err)
	}
	return noun(row, def), nil
}

// SetDefault says at which release, and which version of it ("": its last),
// new tenants start.
func (s *Service) SetDefault(ctx context.Context, by controlplane.Actor, name, version string, dryRun bool) (*controlplane.Release, error) {
	if err := s.guard.See(by, "release.default", name); err != nil {
		return nil, err
	}
	row, err := byName(ctx, s.cat.Ent(), name)
	if err != nil {
		return nil, err
	}
	if version == "" {
		version = last(row.Versions)
	}
	def := Default{ReleaseID: row.ID, Version: version}
	release := noun(row, def)
	if !release.Has(version) {
		return nil, NoSuchVersion(release, version)
	}
	if dryRun {
		return release, nil
	}
	return release, s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "release.default", name, map[string]string{"version": version}); err != nil {
			return err
		}
		if err := LockDefault(ctx, tx); err != nil {
			return err
		}
		if err := forgetBefore(ctx, tx); err != nil {
			return err
		}
		return Promote(ctx, tx, def)
	})
}

// NoSuchVersion is the error of a version that is not in a release.
func NoSuchVersion(r *controlplane.Release, version string) error {
	return controlplane.Errorf(controlplane.NotFound, "release %s has no version %s", r.Name, version).
		WithHint("`manor release show %s` lists its versions; the last is %s", r.Name, r.Latest())
}

// Load returns a parsed release by its id. It is parsed once per process and
// shared read-only.
func (s *Service) Load(ctx context.Context, id string) (*migrator.Release, error) {
	if had, ok := s.parsed.Load(id); ok {
		return had.(*migrator.Release), nil
	}
	row, err := s.cat.Ent().Release.Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read release %s: %w", id, err)
	}
	files, err := unpack(row.Archive)
	if err != nil {
		return nil, fmt.Errorf("unpack release %s: %w", row.Name, err)
	}
	parsed, err := migrator.Parse(files)
	if err != nil {
		return nil, fmt.Errorf("parse release %s: %w", row.Name, err)
	}
	return s.keep(id, parsed), nil
}

// keptReleases is how many parsed releases a process keeps at most.
const keptReleases = 4

// keep remembers a parsed release, and returns the one that everybody shares.
func (s *Service) keep(id string, parsed *migrator.Release) *migrator.Release {
	if _, had := s.parsed.Load(id); !had && s.loaded.Add(1)%keptReleases == 0 {
		s.parsed.Clear()
	}
	shared, _ := s.parsed.LoadOrStore(id, parsed)
	return shared.(*migrator.Release)
}

// Reverses returns how the named versions of a release are undone: by their
// down files, else as computed on a scratch database of a cluster, once, and
// kept with the release.
func (s *Service) Reverses(ctx context.Context, id string, versions []string, clusterID string) (migrator.Reverses, error) {
	parsed, err := s.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	reverses, missing, err := s.KnownReverses(ctx, id, versions)
	if err != nil || len(missing) == 0 {
		return reverses, err
	}
	var computed migrator.Reverses
	err = s.fleet.Scratch(ctx, clusterID, func(ctx context.Context, owner *pgx.Conn, schema string) error {
		computed, err = parsed.ComputeReverses(ctx, owner, schema, missing)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compute how to undo %v: %w", missing, err)
	}
	for version, reverse := range computed {
		reverses[version] = reverse
	}
	return reverses, s.remember(ctx, id, computed)
}

// Diff computes the migration that leads a directory to a desired schema, on a
// scratch database of a cluster. It stores nothing.
func (s *Service) Diff(ctx context.Context, by controlplane.Actor, n controlplane.NewDiff) (*controlplane.Diff, error) {
	if err := s.guard.See(by, "release.diff", n.Name); err != nil {
		return nil, err
	}
	if err := n.Validate(); err != nil {
		return nil, err
	}
	goal, err := migrator.ParseGoal(n)
	if err != nil {
		return nil, err
	}
	clusterID, err := s.fleet.ScratchCluster(ctx, n.Cluster)
	if err != nil {
		return nil, err
	}
	var d *controlplane.Diff
	err = s.fleet.Scratch(ctx, clusterID, func(ctx context.Context, owner *pgx.Conn, schema string) error {
		d, err = goal.Diff(ctx, owner, schema)
		return err
	})
	return d, err
}

func newID() string { return pg.NewName("rel_") }
