package pg

import (
	"errors"
	"strings"
	"syscall"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of netinet/tcp.h, which package syscall lacks.
const tcpUserTimeout = 0x12

// boundSilence has the kernel give up a connection whose peer does not
// acknowledge what was sent: while anything is under way there are no keep-alives.
func boundSilence(network, _ string, raw syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var refused error
	err := raw.Control(func(fd uintptr) {
		refused = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unacknowledged.Milliseconds()))
	})
	return errors.Join(err, refused)
}
