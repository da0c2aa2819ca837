package event

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/manorhq/manor/controlplane/catalog"
)

// Emit writes an event in tx. data is encoded as JSON; nil becomes null. It may
// hold no secret: every reader of the fleet sees it.
func Emit(ctx context.Context, tx *catalog.Tx, kind, subject string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encoding the data of event %s: %w", kind, err)
	}
	// The xid is the database's default: only it knows the transaction.
	if err := tx.Event.Create().SetKind(kind).SetSubject(subject).SetData(b).Exec(ctx); err != nil {
		return fmt.Errorf("writing event %s of %s: %w", kind, subject, err)
	}
	return nil
}
