package pg

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// TestASilentServerIsFoundOutWithin15Seconds looks at what the kernel was told:
// nobody but the network itself can be silent enough to try it out.
func TestASilentServerIsFoundOutWithin15Seconds(t *testing.T) {
	t.Parallel()
	raw, err := newFixture(t).control().PgConn().Conn().(*net.TCPConn).SyscallConn()
	must(t, err)
	option := func(name int) (value int) {
		must(t, raw.Control(func(fd uintptr) {
			value, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, name)
			must(t, err)
		}))
		return value
	}
	idle, interval, count := option(syscall.TCP_KEEPIDLE), option(syscall.TCP_KEEPINTVL), option(syscall.TCP_KEEPCNT)
	if s := idle + interval*count; idle == 0 || s > 15 {
		t.Errorf("without traffic: %d s (%d + %d × %d)", s, idle, count, interval)
	}
	if d := time.Duration(option(tcpUserTimeout)) * time.Millisecond; d == 0 || d > 15*time.Second {
		t.Errorf("with something under way: %s", d)
	}
}
