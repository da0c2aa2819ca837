//go:build unix

package daemon

import (
	"net"
	"sync"
	"syscall"
)

// umask belongs to the process, so only one socket is made at a time.
var umask sync.Mutex

// privately listens on a socket that is never open to others, not even between
// its creation and a chmod.
func privately(path string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	before := syscall.Umask(0o177)
	defer syscall.Umask(before)
	return net.Listen("unix", path)
}
