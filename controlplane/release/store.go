package release

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/event"
	"github.com/manorhq/manor/controlplane/migrator"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/release"
	"github.com/manorhq/manor/ent/setting"
)

// The settings of this room.
const (
	settingRelease = "default_release"
	settingVersion = "default_version"
)

// Default is where new tenants start; zero while no release is pushed.
type Default struct {
	ReleaseID string
	Version   string
}

// Default reads the default outside a transaction.
func (s *Service) Default(ctx context.Context) (Default, error) {
	return readDefault(ctx, s.cat.Ent())
}

// DefaultIn reads the default inside a transaction.
func DefaultIn(ctx context.Context, tx *catalog.Tx) (Default, error) {
	return readDefault(ctx, tx.Client())
}

// LockDefault keeps every tenant from settling at the default until the
// transaction ends, which may then change it and know who is where.
func LockDefault(ctx context.Context, tx *catalog.Tx) error {
	return lockDefault(ctx, tx, "SELECT pg_advisory_xact_lock(hashtextextended('manor.release.default', 0))")
}

// HoldDefault reads the default and keeps a rollout from replacing it until the
// transaction ends.
func HoldDefault(ctx context.Context, tx *catalog.Tx) (Default, error) {
	if err := lockDefault(ctx, tx, "SELECT pg_advisory_xact_lock_shared(hashtextextended('manor.release.default', 0))"); err != nil {
		return Default{}, err
	}
	return DefaultIn(ctx, tx)
}

func lockDefault(ctx context.Context, tx *catalog.Tx, statement string) error {
	err := tx.Conn(func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement)
		return err
	})
	if err != nil {
		return fmt.Errorf("lock the default release: %w", err)
	}
	return nil
}

func readDefault(ctx context.Context, client *ent.Client) (Default, error) {
	rows, err := client.Setting.Query().Where(setting.IDIn(settingRelease, settingVersion)).All(ctx)
	if err != nil {
		return Default{}, fmt.Errorf("read the default release: %w", err)
	}
	var def Default
	for _, row := range rows {
		switch row.ID {
		case settingRelease:
			def.ReleaseID = row.Value
		case settingVersion:
			def.Version = row.Value
		}
	}
	return def, nil
}

// Promote makes a release and version the default and says so.
func Promote(ctx context.Context, tx *catalog.Tx, def Default) error {
	if err := setDefault(ctx, tx, def); err != nil {
		return err
	}
	return event.Emit(ctx, tx, controlplane.EventReleaseDefault, def.ReleaseID, map[string]string{"version": def.Version})
}

func setDefault(ctx context.Context, tx *catalog.Tx, def Default) error {
	err := tx.Setting.CreateBulk(
		tx.Setting.Create().SetID(settingRelease).SetValue(def.ReleaseID),
		tx.Setting.Create().SetID(settingVersion).SetValue(def.Version),
	).OnConflictColumns(setting.FieldID).UpdateNewValues().Exec(ctx)
	if err != nil {
		return fmt.Errorf("store the default release: %w", err)
	}
	return nil
}

func insert(ctx context.Context, tx *catalog.Tx, n controlplane.NewRelease, by controlplane.Actor, parsed *migrator.Release) (*ent.Release, error) {
	archive, err := pack(n.Files)
	if err != nil {
		return nil, fmt.Errorf("pack release %s: %w", n.Name, err)
	}
	extensions := n.Extensions
	if extensions == nil {
		extensions = []string{}
	}
	row, err := tx.Release.Create().SetID(newID()).SetName(n.Name).SetHash(parsed.Hash()).SetArchive(archive).
		SetVersions(parsed.Versions()).SetExtensions(extensions).SetCreatedBy(by.String()).Save(ctx)
	if catalog.IsUnique(err, "name") || catalog.IsUnique(err, "hash") {
		return nil, controlplane.Errorf(controlplane.Conflict, "release %s was pushed by somebody else meanwhile", n.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("store release %s: %w", n.Name, err)
	}
	return row, nil
}

func byName(ctx context.Context, client *ent.Client, name string) (*ent.Release, error) {
	row, err := client.Release.Query().Where(release.Name(name)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, controlplane.Errorf(controlplane.NotFound, "there is no release %s", name).WithHint("`manor release list` lists them")
	}
	if err != nil {
		return nil, fmt.Errorf("read release %s: %w", name, err)
	}
	return row, nil
}

func byNameOrHash(ctx context.Context, client *ent.Client, name, hash string) (*ent.Release, error) {
	rows, err := client.Release.Query().Where(release.Or(release.Name(name), release.Hash(hash))).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read release %s: %w", name, err)
	}
	for _, row := range rows {
		if row.Name == name {
			return row, nil
		}
	}
	if len(rows) > 0 {
		return rows[0], nil
	}
	return nil, nil
}

func all(ctx context.Context, client *ent.Client) ([]*ent.Release, error) {
	rows, err := client.Release.Query().Order(release.ByCreatedAt(), release.ByName()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the releases: %w", err)
	}
	return rows, nil
}

// KnownReverses splits versions into those whose reverse is a down file or was
// computed before, and those that are missing.
func (s *Service) KnownReverses(ctx context.Context, id string, versions []string) (reverses migrator.Reverses, missing []string, err error) {
	parsed, err := s.Load(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	row, err := s.cat.Ent().Release.Get(ctx, id)
	if err != nil {
		return nil, nil, fmt.Errorf("read release %s: %w", id, err)
	}
	kept := migrator.Reverses{}
	if len(row.Reverses) > 0 {
		if err := json.Unmarshal(row.Reverses, &kept); err != nil {
			return nil, nil, fmt.Errorf("decode the reverses of release %s: %w", row.Name, err)
		}
	}
	reverses = migrator.Reverses{}
	for _, v := range versions {
		if down, ok := parsed.Reverse(v); ok {
			reverses[v] = down
		} else if had, ok := kept[v]; ok {
			reverses[v] = had
		} else {
			missing = append(missing, v)
		}
	}
	return reverses, missing, nil
}

// remember keeps computed reverses with their release.
func (s *Service) remember(ctx context.Context, id string, computed migrator.Reverses) error {
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		row, err := tx.Release.Query().Where(release.ID(id)).ForUpdate().Only(ctx)
		if err != nil {
			return fmt.Errorf("lock release %s: %w", id, err)
		}
		kept := migrator.Reverses{}
		if len(row.Reverses) > 0 {
			if err := json.Unmarshal(row.Reverses, &kept); err != nil {
				return fmt.Errorf("decode the reverses of release %s: %w", row.Name, err)
			}
		}
		for version, reverse := range computed {
			kept[version] = reverse
		}
		raw, err := json.Marshal(kept)
		if err != nil {
			return fmt.Errorf("encode the reverses of release %s: %w", row.Name, err)
		}
		versions := row.Versions
		for i, v := range versions {
			if reverse, ok := computed[v.Version]; ok {
				versions[i].Down, versions[i].Reason = reverse.Kind, reverse.Reason
			}
		}
		if err := row.Update().SetReverses(raw).SetVersions(versions).Exec(ctx); err != nil {
			return fmt.Errorf("store the reverses of release %s: %w", row.Name, err)
		}
		return nil
	})
}

func noun(row *ent.Release, def Default) *controlplane.Release {
	r := &controlplane.Release{ID: row.ID, Name: row.Name, Hash: row.Hash, Versions: row.Versions, Extensions: row.Extensions,
		CreatedAt: row.CreatedAt, CreatedBy: row.CreatedBy}
	if def.ReleaseID == row.ID {
		r.Default = def.Version
	}
	return r
}

func last(versions []controlplane.Version) string {
	return (&controlplane.Release{Versions: versions}).Latest()
}

// pack compresses the files of a release for the catalog.
func pack(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := json.NewEncoder(w).Encode(files); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func unpack(archive []byte) (map[string][]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	var files map[string][]byte
	return files, json.NewDecoder(r).Decode(&files)
}
