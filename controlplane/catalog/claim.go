package catalog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/setting"
)

// settingClaim remembers a claim until it is complete, so that the next attempt
// goes on with the same incarnation.
const settingClaim = "claim"

// Claim is how a copy makes the tenants its own: their markers go over from the
// incarnations that they may name now to a new one.
type Claim struct {
	From  []string `json:"from"`
	To    string   `json:"to"`
	Place string   `json:"place"` // where it was begun: a copy of a copy does not go on with it, but begins its own
}

// BeginClaim begins a claim at a place, as [Catalog.Place] found it, or returns
// the one that is not complete yet. Until [EndClaim] the catalog stays what it was.
func BeginClaim(ctx context.Context, tx *Tx, place string) (Claim, error) {
	own, err := value(ctx, tx, incarnation)
	if err != nil {
		return Claim{}, err
	}
	begun, err := begunClaim(ctx, tx)
	if err != nil || begun.Place == place {
		return begun, err
	}
	from := append(begun.From, own)
	if begun.To != "" {
		from = append(from, begun.To)
	}
	slices.Sort(from)
	claim := Claim{From: slices.Compact(from), To: rand.Text(), Place: place}
	raw, err := json.Marshal(claim)
	if err != nil {
		return claim, err
	}
	return claim, put(ctx, tx, settingClaim, string(raw))
}

func begunClaim(ctx context.Context, tx *Tx) (c Claim, err error) {
	raw, err := value(ctx, tx, settingClaim)
	if err != nil || raw == "" {
		return c, err
	}
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		return c, fmt.Errorf("decoding the claim that was begun: %w", err)
	}
	return c, nil
}

// EndClaim makes a catalog of its own out of a copy: under the claim's
// incarnation, where it is now, drawing epochs above the highest that the
// markers named. A claim that left tenants out stays open for the next attempt.
func EndClaim(ctx context.Context, tx *Tx, c Claim, highest int64, complete bool) error {
	err := tx.Conn(func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SELECT setval('epoch', greatest(last_value, $1)) FROM epoch`, highest)
		return err
	})
	if err != nil {
		return fmt.Errorf("raising the epochs: %w", err)
	}
	if err := put(ctx, tx, incarnation, c.To); err != nil {
		return err
	}
	if err := put(ctx, tx, settingPlace, c.Place); err != nil || !complete {
		return err
	}
	if err := tx.Setting.DeleteOneID(settingClaim).Exec(ctx); err != nil {
		return fmt.Errorf("ending the claim: %w", err)
	}
	return nil
}

// value reads a setting and keeps it from changing until the transaction ends;
// "" when there is none.
func value(ctx context.Context, tx *Tx, key string) (string, error) {
	row, err := tx.Setting.Query().Where(setting.ID(key)).ForUpdate().Only(ctx)
	if ent.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading setting %s: %w", key, err)
	}
	return row.Value, nil
}

func put(ctx context.Context, tx *Tx, key, value string) error {
	err := tx.Setting.Create().SetID(key).SetValue(value).OnConflictColumns(setting.FieldID).UpdateNewValues().Exec(ctx)
	if err != nil {
		return fmt.Errorf("storing setting %s: %w", key, err)
	}
	return nil
}
