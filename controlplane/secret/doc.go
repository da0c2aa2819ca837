// Package secret seals the secrets that the catalog keeps: cluster
// credentials and tenants' passwords.
//
// Owns: the key file and the sealed form. A sealed secret is bound to its
// owner and field, so that a row copied over another does not open. May
// import: nouns, Tink.
//
// Doors: [OpenKeyring], [CreateKeyring], [Ephemeral], [Keyring.Seal],
// [Keyring.Open]. No loops.
package secret
