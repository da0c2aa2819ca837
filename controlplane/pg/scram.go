package pg

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/manorhq/manor/controlplane"
)

const (
	scramIterations = 4096 // PostgreSQL's own default; our passwords hold 256 bits, so more would buy nothing
	scramSaltBytes  = 16
	passwordBytes   = 32
)

// NewPassword returns 32 random bytes in base64url.
func NewPassword() controlplane.Secret {
	var b [passwordBytes]byte
	rand.Read(b[:]) // never fails
	return controlplane.NewSecret(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Verifier returns what PostgreSQL keeps of a password under SCRAM-SHA-256
// (RFC 5802, 7677). Given to CREATE ROLE in place of the password, it keeps the
// password out of SQL, logs and pg_stat_statements. It does not log in itself.
func Verifier(p controlplane.Secret) (string, error) {
	password := p.Reveal()
	for _, r := range password {
		// Others would have to go through SASLprep first (RFC 4013).
		if r < ' ' || r > '~' {
			return "", controlplane.Errorf(controlplane.Invalid, "the password holds a character that is not printable ASCII")
		}
	}
	if password == "" {
		return "", controlplane.Errorf(controlplane.Invalid, "the password is empty")
	}
	salt := make([]byte, scramSaltBytes)
	rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramIterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a SCRAM verifier: %w", err)
	}
	stored := sha256.Sum256(hmacSHA256(salted, "Client Key"))
	enc := base64.StdEncoding
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramIterations, enc.EncodeToString(salt),
		enc.EncodeToString(stored[:]), enc.EncodeToString(hmacSHA256(salted, "Server Key"))), nil
}

func hmacSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
