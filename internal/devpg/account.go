package devpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is whom the server runs as.
type account struct {
	name     string
	how      how
	uid, gid uint32
}

type how int

const (
	asSelf      how = iota // the caller is no root
	asOther                // root becomes that user; it needs CAP_SETUID, CAP_SETGID
	inNamespace            // root stays the same for files, but calls itself otherwise; Linux only
)

// chooseAccount finds an account that can run these binaries. PostgreSQL refuses to run as root, and initdb wants a
// user id that has a name.
func chooseAccount(ctx context.Context, bin binaries) (account, error) {
	if os.Geteuid() != 0 {
		return account{how: asSelf}, nil
	}
	var failed []error
	for _, a := range rootsChoices() {
		_, err := output(ctx, a.command("/", bin.path("postgres"), "--version"))
		if err == nil {
			return a, nil
		}
		failed = append(failed, fmt.Errorf("as %s: %w", a.name, err))
	}
	return account{}, fmt.Errorf("PostgreSQL does not run as root, and root may not become another user here; "+
		"run this as a normal user: %w", errors.Join(failed...))
}

// rootsChoices prefers a real user. Where the capabilities for that are missing, a user namespace mostly works; where
// a container's seccomp profile forbids namespaces, the capabilities are mostly there.
func rootsChoices() []account {
	var choices []account
	for _, name := range []string{"postgres", "nobody"} {
		if a, err := lookupAccount(name); err == nil {
			choices = append(choices, a)
		}
	}
	return append(choices, namespaceChoices()...)
}

func lookupAccount(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, err
	}
	return account{name: name, how: asOther, uid: uint32(uid), gid: uint32(gid)}, nil
}

// command runs a program as the account, in a session of its own, with nothing of the caller's environment that could
// change what PostgreSQL does.
func (a account) command(dir, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C", "LC_ALL=C", "TZ=UTC", "HOME=/"}
	cmd.SysProcAttr = a.attributes()
	cmd.SysProcAttr.Setsid = true
	return cmd
}

func (a account) attributes() *syscall.SysProcAttr {
	switch a.how {
	case asOther:
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid}}
	case inNamespace:
		return namespaceAttributes()
	default:
		return &syscall.SysProcAttr{}
	}
}

// makeOwn makes an empty folder that belongs to the account and nobody else.
func (a account) makeOwn(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := a.give(dir); err != nil {
		return err
	}
	if _, err := output(ctx, a.command("/", "/bin/sh", "-c", `test -w "$0"`, dir)); err != nil {
		return fmt.Errorf("%s, whom PostgreSQL is started as, cannot reach %s: "+
			"let others pass each folder above it (chmod a+x) or choose another place (%w)", a.name, dir, err)
	}
	return nil
}

// give makes a file or folder of ours the account's. In a namespace it already is.
func (a account) give(path string) error {
	if a.how != asOther {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// letThrough lets the account pass a folder of ours, without letting it list what is inside.
func (a account) letThrough(dir string) error {
	if a.how != asOther {
		return nil
	}
	return os.Chmod(dir, 0o711)
}
