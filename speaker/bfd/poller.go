//go:build linux

package bfd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// poller tells that a socket has something to read, once each time that it is armed: packets that are read anyway wake
// nobody. It is an epoll instance that the Go runtime waits for in its turn, so that one goroutine waits for all sockets
// and none keeps a thread.
type poller struct {
	fd   int
	file *os.File // owns fd
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // which makes os.NewFile give it to the runtime's poller
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}, nil
}

// add makes a socket one of those that are waited for, armed. Closing it ends that.
func (p *poller) add(fd int) error { return p.control(unix.EPOLL_CTL_ADD, fd) }

// arm makes wait tell when a socket has something to read, or has it already.
func (p *poller) arm(fd int) { _ = p.control(unix.EPOLL_CTL_MOD, fd) } // it was added

func (p *poller) control(operation, fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, operation, fd, &event))
}

// wait sends a value to readable when a socket has something to read, and goes on when it gets one from again, until
// the poller is closed.
func (p *poller) wait(readable chan<- struct{}, again <-chan struct{}) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("waiting for packets: %w", err)
	}
	var one [1]unix.EpollEvent
	for range again {
		err := raw.Read(func(fd uintptr) bool {
			n, err := unix.EpollWait(int(fd), one[:], 0)
			return err == nil && n > 0
		})
		if err != nil {
			return nil // closed
		}
		readable <- struct{}{}
	}
	return nil
}

func (p *poller) close() { _ = p.file.Close() }
