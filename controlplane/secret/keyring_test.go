package secret_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/secret"
)

const password = "hunter2-marked"

func seal(t *testing.T, k *secret.Keyring, owner, field string) []byte {
	t.Helper()
	b, err := k.Seal(controlplane.NewSecret(password), owner, field)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func create(t *testing.T) (*secret.Keyring, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.json")
	k, err := secret.CreateKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	return k, path
}

func TestSecretOpensAgainAfterARestart(t *testing.T) {
	created, path := create(t)
	sealed := seal(t, created, "cluster-1", "password")
	if bytes.Contains(sealed, []byte(password)) {
		t.Fatal("the password is in the clear")
	}
	opened, err := secret.OpenKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := opened.Open(sealed, "cluster-1", "password")
	if err != nil || s.Reveal() != password {
		t.Errorf("opened %v, %v", s, err)
	}
}

func TestSecretOpensOnlyForItsOwnerFieldAndKey(t *testing.T) {
	k := secret.Ephemeral()
	sealed := seal(t, k, "ab", "c")
	changed := bytes.Clone(sealed)
	changed[len(changed)-1]++
	for name, open := range map[string]func() (controlplane.Secret, error){
		"another owner":    func() (controlplane.Secret, error) { return k.Open(sealed, "xy", "c") },
		"another field":    func() (controlplane.Secret, error) { return k.Open(sealed, "ab", "d") },
		"a shifted border": func() (controlplane.Secret, error) { return k.Open(sealed, "a", "bc") },
		"another key":      func() (controlplane.Secret, error) { return secret.Ephemeral().Open(sealed, "ab", "c") },
		"a changed byte":   func() (controlplane.Secret, error) { return k.Open(changed, "ab", "c") },
		"nothing":          func() (controlplane.Secret, error) { return k.Open(nil, "ab", "c") },
	} {
		s, err := open()
		if controlplane.CodeOf(err) != controlplane.Refused || !s.Empty() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyFileOfOthersIsRefused(t *testing.T) {
	_, path := create(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new key file has mode %v, %v", info.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o610, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := secret.OpenKeyring(path)
		if e, ok := errors.AsType[*controlplane.Error](err); !ok || e.Code != controlplane.Refused || e.Hint != "chmod 600 "+path {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.OpenKeyring(path); err != nil {
		t.Errorf("a key file only its owner reads: %v", err)
	}
}

func TestKeyFileIsNeverOverwritten(t *testing.T) {
	_, path := create(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = secret.CreateKeyring(path)
	if controlplane.CodeOf(err) != controlplane.Conflict {
		t.Errorf("creating it again: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the key file changed")
	}
}

func TestBadKeyFilesGetAClearErrorWithoutTheirContent(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, says := range map[string]string{
		"":                                    "no key file is given",
		filepath.Join(dir, "absent"):          "does not exist",
		dir:                                   "mode",
		file("empty", ""):                     "does not hold a Tink keyset",
		file("text", password):                "does not hold a Tink keyset",
		file("json", `{"`+password+`": 1}`):   "does not hold a Tink keyset",
		file("no keys", `{"primaryKeyId":1}`): "does not hold",
	} {
		_, err := secret.OpenKeyring(path)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want it to say %q", path, err, says)
		}
		if text := fmt.Sprintf("%+v %v", err, errors.Unwrap(err)); strings.Contains(text, password) {
			t.Errorf("%q quotes the file", text)
		}
	}
}
