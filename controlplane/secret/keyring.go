package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/manorhq/manor/controlplane"
)

// Keyring seals and opens secrets under the primary key of a Tink keyset, and
// opens what any of its older keys sealed. Safe for concurrent use.
type Keyring struct{ aead tink.AEAD }

// OpenKeyring reads a key file: a Tink keyset as JSON that nobody but its owner may read.
func OpenKeyring(path string) (*Keyring, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(b)))
	if err != nil {
		// Tink's error is left out: it could quote the file.
		return nil, controlplane.Errorf(controlplane.Invalid, "key file %s does not hold a Tink keyset", path).
			WithHint("restore it from a backup; what it sealed opens with no other key")
	}
	k, err := newKeyring(handle)
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "key file %s holds no AEAD key", path)
	}
	return k, nil
}

func readPrivate(path string) ([]byte, error) {
	if path == "" {
		return nil, controlplane.Errorf(controlplane.Invalid, "no key file is given").WithHint("set MANOR_KEY_FILE")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, controlplane.Errorf(controlplane.Invalid, "key file %s does not exist", path).
			WithHint("set MANOR_KEY_FILE to the key file that the catalog was created with")
	}
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "opening key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "opening key file: %w", err)
	}
	if mode := info.Mode().Perm(); !info.Mode().IsRegular() || mode&0o077 != 0 {
		return nil, controlplane.Errorf(controlplane.Refused, "key file %s has mode %04o: others than its owner may use it", path, mode).
			WithHint("chmod 600 %s", path)
	}
	const limit = 1 << 20
	if info.Size() > limit {
		return nil, controlplane.Errorf(controlplane.Invalid, "key file %s is %d bytes long: no keyset is", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, controlplane.Errorf(controlplane.Invalid, "reading key file: %w", err)
	}
	return b, nil
}

// CreateKeyring makes a new key and a new file for it, mode 0600. An existing
// file is never touched: what it sealed would be lost.
func CreateKeyring(path string) (*Keyring, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	if err := writeNew(path, append(b.Bytes(), '\n')); err != nil {
		return nil, err
	}
	return newKeyring(handle)
}

func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return controlplane.Errorf(controlplane.Conflict, "key file %s exists already", path).
			WithHint("use it, or choose another path; Manor never overwrites a key")
	}
	if err != nil {
		return controlplane.Errorf(controlplane.Invalid, "creating key file: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path) // half a key is of no use and would be in the way
		return controlplane.Errorf(controlplane.Invalid, "writing key file %s: %w", path, err)
	}
	return nil
}

// Ephemeral makes a key that lives as long as the process: for tests.
func Ephemeral() *Keyring {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		panic(fmt.Sprintf("generating a key: %v", err)) // only without a source of randomness
	}
	k, err := newKeyring(handle)
	if err != nil {
		panic(fmt.Sprintf("using a key just generated: %v", err))
	}
	return k
}

func newKeyring(handle *keyset.Handle) (*Keyring, error) {
	a, err := aead.New(handle)
	if err != nil {
		return nil, err
	}
	return &Keyring{a}, nil
}

// Seal encrypts s for one field of one owner, such as the id of a cluster and "password".
func (k *Keyring) Seal(s controlplane.Secret, owner, field string) ([]byte, error) {
	b, err := k.aead.Encrypt([]byte(s.Reveal()), binding(owner, field))
	if err != nil {
		return nil, fmt.Errorf("sealing %s of %s: %w", field, owner, err)
	}
	return b, nil
}

// Open decrypts what was sealed for the same owner and field. Refused when it
// was sealed for others or under another key, or was changed.
func (k *Keyring) Open(sealed []byte, owner, field string) (controlplane.Secret, error) {
	b, err := k.aead.Decrypt(sealed, binding(owner, field))
	if err != nil {
		return controlplane.Secret{}, controlplane.Errorf(controlplane.Refused,
			"opening %s of %s: it was not sealed for it under this key", field, owner).
			WithHint("is MANOR_KEY_FILE the key file of this catalog?")
	}
	return controlplane.NewSecret(string(b)), nil
}

// binding is the associated data. The length keeps owner and field apart:
// ("ab", "c") is not ("a", "bc").
func binding(owner, field string) []byte {
	return []byte(strconv.Itoa(len(owner)) + ":" + owner + ":" + field)
}
