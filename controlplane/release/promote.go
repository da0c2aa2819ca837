package release

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/setting"
)

// settingBefore remembers the default that a rollout replaced.
const settingBefore = "default_before"

// before is the default that a rollout replaced.
type before struct {
	Rollout string  `json:"rollout"`
	Default Default `json:"default"`
}

// PromoteBy makes a release and version the default because a rollout brought
// every tenant there, and remembers what was before.
func PromoteBy(ctx context.Context, tx *catalog.Tx, def Default, rollout string) error {
	had, err := DefaultIn(ctx, tx)
	if err != nil || had == def {
		return err
	}
	raw, err := json.Marshal(before{rollout, had})
	if err != nil {
		return fmt.Errorf("encode the default before rollout %s: %w", rollout, err)
	}
	err = tx.Setting.Create().SetID(settingBefore).SetValue(string(raw)).OnConflictColumns(setting.FieldID).UpdateNewValues().Exec(ctx)
	if err != nil {
		return fmt.Errorf("remember the default before rollout %s: %w", rollout, err)
	}
	return Promote(ctx, tx, def)
}

// Demote brings back the default that a rollout replaced, now that it has been
// rolled back. A default that somebody chose since stays.
func Demote(ctx context.Context, tx *catalog.Tx, rollout string) error {
	row, err := tx.Setting.Get(ctx, settingBefore)
	if ent.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the default before rollout %s: %w", rollout, err)
	}
	var b before
	if err := json.Unmarshal([]byte(row.Value), &b); err != nil {
		return fmt.Errorf("decode the default before rollout %s: %w", rollout, err)
	}
	if b.Rollout != rollout {
		return nil
	}
	if err := tx.Setting.DeleteOne(row).Exec(ctx); err != nil {
		return fmt.Errorf("forget the default before rollout %s: %w", rollout, err)
	}
	return Promote(ctx, tx, b.Default)
}

// forgetBefore drops what a rollout remembered: somebody chooses the default now.
func forgetBefore(ctx context.Context, tx *catalog.Tx) error {
	if _, err := tx.Setting.Delete().Where(setting.ID(settingBefore)).Exec(ctx); err != nil {
		return fmt.Errorf("forget the default before the last rollout: %w", err)
	}
	return nil
}
