package main

import (
	"os"
	"syscall"
)

// redirect makes the file descriptor of to point at the file from.
func redirect(from, to *os.File) error {
	return syscall.Dup3(int(from.Fd()), int(to.Fd()), 0)
}
