package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// guardScript outlives the demo, however that ends: the kernel then closes its standard input. A line read is the
// process id of the service, an empty one says there is none. At the end of input it ends the service, which has little
// left to end in order once its servers are gone, and removes the demo's folder with key and passwords. devpg guards
// its servers the same way.
const guardScript = `
dir=$1 pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
	kill -TERM "$pid" 2>/dev/null
	n=0
	while kill -0 "$pid" 2>/dev/null; do
		if [ $n -ge 30 ]; then kill -KILL "$pid"; break; fi
		sleep 0.1
		n=$((n + 1))
	done
fi
rm -rf -- "$dir"
`

// guard is the process that cleans up after this one.
type guard struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// startGuard starts it in a session of its own, where neither Ctrl-C nor a closing terminal reaches it.
func startGuard(dir string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "sh", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the process that cleans up: %w", err)
	}
	return &guard{cmd: cmd, in: in}, nil
}

// watch names the process to end; 0 says that there is none.
func (g *guard) watch(pid int) error {
	line := "\n"
	if pid != 0 {
		line = fmt.Sprintln(pid)
	}
	_, err := io.WriteString(g.in, line)
	return err
}

// close lets it do its work and waits for that.
func (g *guard) close() error { return errors.Join(g.in.Close(), g.cmd.Wait()) }

// tailLines is how much of the service's log is shown when something went wrong.
const tailLines = 15

// tailLog shows the end of the service's log before it is removed.
func (d *demo) tailLog() {
	text, err := os.ReadFile(d.path(serviceLog))
	if err != nil || len(text) == 0 {
		return
	}
	d.say("\nThe end of %s:\n%s", serviceLog, lastLines(string(text), tailLines))
}
