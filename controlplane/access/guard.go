package access

import (
	"context"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/audit"
	"github.com/manorhq/manor/controlplane/catalog"
)

// Guard decides whether an actor may do an action. The API, the CLI's
// in-process mode and background loops pass the same one.
//
// Until tokens exist the way in is the proof of who asks: a unix socket of
// mode 0600, or the catalog's own credentials. So everybody who has a name may
// do everything, and an actor without one nothing.
type Guard struct{}

// See decides on an action that changes nothing.
func (Guard) See(by controlplane.Actor, action, subject string) error {
	return decide(by, action, subject)
}

// Permit decides on an action that changes something and, when it may,
// writes the audit record into the transaction of the change.
func (Guard) Permit(ctx context.Context, tx *catalog.Tx, by controlplane.Actor, action, subject string, detail any) error {
	if err := decide(by, action, subject); err != nil {
		return err
	}
	return audit.Record(ctx, tx, by, action, subject, detail)
}

func decide(by controlplane.Actor, action, subject string) error {
	if by.Name == "" {
		return controlplane.Errorf(controlplane.Refused, "%s on %s: the caller gave no name", action, subject)
	}
	return nil
}
