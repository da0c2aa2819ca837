//go:build !linux

package devpg

import "syscall"

func namespaceChoices() []account { return nil }

func namespaceAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
