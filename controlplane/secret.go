package controlplane

import (
	"fmt"
	"log/slog"
)

// Secret is a password or key that prints as *** whatever prints it: fmt, JSON,
// YAML, slog. [Secret.Reveal] is the only way to the value, so that a search
// for it finds every place where a secret leaves.
type Secret struct{ value string }

const hidden = "***"

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s.value == "" }

func (s Secret) String() string                { return hidden }
func (s Secret) GoString() string              { return hidden }
func (s Secret) Format(f fmt.State, _ rune)    { fmt.Fprint(f, hidden) }
func (s Secret) LogValue() slog.Value          { return slog.StringValue(hidden) }
func (s Secret) MarshalText() ([]byte, error)  { return []byte(hidden), nil }
func (s *Secret) UnmarshalText(b []byte) error { s.value = string(b); return nil }
