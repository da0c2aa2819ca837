//go:build !linux

package chaos_test

import "syscall"

// withParent would have a process die with the one that started it.
func withParent() *syscall.SysProcAttr { return nil }
