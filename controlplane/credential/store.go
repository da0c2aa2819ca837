package credential

import (
	"context"
	"fmt"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/pg"
	"github.com/manorhq/manor/controlplane/secret"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/credential"
)

// slots name a tenant's two logins in the order of [controlplane.Logins].
var slots = [2]string{"a", "b"}

// sealedField is the AAD that binds a sealed password to its column.
const sealedField = "credential.password"

// Issue makes new passwords for the logins of tenants, keyed by tenant id.
func Issue(ctx context.Context, tx *catalog.Tx, keys *secret.Keyring, logins map[string]controlplane.Logins) error {
	var rows []*ent.CredentialCreate
	for tenant, pair := range logins {
		for i, login := range pair {
			sealed, err := keys.Seal(pg.NewPassword(), login, sealedField)
			if err != nil {
				return fmt.Errorf("seal the password of %s: %w", login, err)
			}
			rows = append(rows, tx.Credential.Create().SetTenantID(tenant).SetLogin(login).SetSlot(slots[i]).SetSealedPassword(sealed))
		}
	}
	if err := tx.Credential.CreateBulk(rows...).Exec(ctx); err != nil {
		return fmt.Errorf("store credentials: %w", err)
	}
	return nil
}

// Passwords opens the passwords of a tenant's two logins, in the order of
// [controlplane.Logins].
func Passwords(ctx context.Context, client *ent.Client, keys *secret.Keyring, tenant string) ([2]controlplane.Secret, error) {
	var passwords [2]controlplane.Secret
	rows, err := client.Credential.Query().Where(credential.TenantID(tenant)).Order(credential.BySlot()).All(ctx)
	if err != nil {
		return passwords, fmt.Errorf("read the credentials of tenant %s: %w", tenant, err)
	}
	if len(rows) != len(slots) {
		return passwords, fmt.Errorf("tenant %s has %d credentials, not %d", tenant, len(rows), len(slots))
	}
	for i, row := range rows {
		if passwords[i], err = keys.Open(row.SealedPassword, row.Login, sealedField); err != nil {
			return passwords, fmt.Errorf("open the password of %s: %w", row.Login, err)
		}
	}
	return passwords, nil
}

// Forget removes a tenant's credentials.
func Forget(ctx context.Context, tx *catalog.Tx, tenant string) error {
	if _, err := tx.Credential.Delete().Where(credential.TenantID(tenant)).Exec(ctx); err != nil {
		return fmt.Errorf("remove the credentials of tenant %s: %w", tenant, err)
	}
	return nil
}
