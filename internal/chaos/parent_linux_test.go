package chaos_test

import "syscall"

// withParent has a process die with the one that started it.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
