package audit

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
)

// Record writes down that an actor did an action on a subject. The detail is
// encoded as JSON; a [controlplane.Secret] in it stays hidden.
func Record(ctx context.Context, tx *catalog.Tx, by controlplane.Actor, action, subject string, detail any) error {
	raw, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("encode the audit record of %s: %w", action, err)
	}
	err = tx.AuditRecord.Create().SetActor(by.String()).SetAction(action).SetSubject(subject).SetDetail(raw).Exec(ctx)
	if err != nil {
		return fmt.Errorf("write the audit record of %s on %s: %w", action, subject, err)
	}
	return nil
}
