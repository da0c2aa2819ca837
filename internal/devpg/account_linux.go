package devpg

import (
	"os"
	"syscall"
)

// nobody is the user id that is called so on Linux; initdb looks its name up.
const nobody = 65534

func namespaceChoices() []account {
	return []account{{name: "nobody in a user namespace", how: inNamespace}}
}

// namespaceAttributes maps one single id, which needs no capability: inside it is nobody, outside it stays the caller.
// Files the caller owns are therefore the server's own, and need no chown.
func namespaceAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getegid(), Size: 1}},
	}
}
