package devpg

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// guardScript outlives this process, however that ends: the kernel then closes its standard input. Each line read is
// the process id of the postmaster now running, an empty one says there is none. At the end of input it ends the last
// one, waits until the server has removed its lock file (kill -0 also finds a zombie nobody collects) and removes the
// temporary folder.
const guardScript = `
data=$1 temporary=$2 pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
	kill -QUIT "$pid" 2>/dev/null
	n=0
	while [ -e "$data/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null; do
		if [ $n -ge 100 ]; then kill -KILL "$pid"; break; fi
		sleep 0.1
		n=$((n + 1))
	done
fi
if [ -n "$temporary" ]; then rm -rf -- "$temporary"; fi
`

// guard is the process that cleans up after this one. Linux's Pdeathsig is no replacement: it fires when the operating
// system's thread that started the child ends, and Go ends threads as it likes.
type guard struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// startGuard starts it in a session of its own, where neither Ctrl-C nor a closing terminal reaches it. It keeps held, if
// that is not nil, open as long as it lives.
func startGuard(data, temporary string, held *os.File) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "sh", data, temporary)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if held != nil {
		cmd.ExtraFiles = []*os.File{held}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the process that cleans up: %w", err)
	}
	return &guard{cmd: cmd, in: in}, nil
}

// watch names the process to end; 0 says that there is none, so that its number, given to another, is safe.
func (g *guard) watch(pid int) error {
	line := "\n"
	if pid != 0 {
		line = fmt.Sprintln(pid)
	}
	if _, err := io.WriteString(g.in, line); err != nil {
		return fmt.Errorf("the process that cleans up is gone: %w", err)
	}
	return nil
}

// close lets the guard do its work and waits for its end. Its exit status says nothing that the caller could use.
func (g *guard) close() {
	_ = g.in.Close()
	_ = g.cmd.Wait()
}
