//go:build linux

package bfd

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller waits for a time, for a socket that has something to read, or for somebody who rings. It is an epoll instance
// that the Go runtime waits for in its turn, so that no thread is kept. The time is the kernel's (timerfd_create(2)) and
// what is done at it are raw system calls that cannot block: a timer of Go's, or a system call that it is told of, also
// wakes the runtime's own watching thread several times, which is most of what an idle process costs.
type poller struct {
	fd, timer, bell int
	file            *os.File // owns fd
	raw             syscall.RawConn
	until           unix.ItimerSpec // what timer is set to
	events          [8]unix.EpollEvent
	heard           bool // that a socket has something to read, of the last wait
}

func newPoller() (*poller, error) {
	p := &poller{fd: -1, timer: -1, bell: -1}
	err := p.open()
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) open() (err error) {
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(p.fd, true); err != nil { // which makes os.NewFile give it to the runtime's poller
		_ = unix.Close(p.fd)
		return os.NewSyscallError("fcntl", err)
	}
	p.file = os.NewFile(uintptr(p.fd), "epoll")
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return fmt.Errorf("waiting for packets: %w", err)
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	for _, fd := range []int{p.timer, p.bell} {
		if err := p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return nil
}

// add makes a socket one of those that are waited for, armed. Closing it ends that.
func (p *poller) add(fd int) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLONESHOT)
}

// arm makes wait return, once, when a socket has something to read, or has it already: packets that are read anyway wake
// nobody.
func (p *poller) arm(fd int) {
	_ = p.control(unix.EPOLL_CTL_MOD, fd, unix.EPOLLIN|unix.EPOLLONESHOT) // it was added
}

func (p *poller) control(operation, fd int, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(operation), uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	return asError("epoll_ctl", errno)
}

// wait returns after a time, when an armed socket has something to read, or when somebody rings. It says whether it was
// a socket.
func (p *poller) wait(d time.Duration) (readable bool, err error) {
	p.until.Value = unix.NsecToTimespec(max(int64(d), 1)) // zero would be never
	_, _, errno := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(p.timer), 0, uintptr(unsafe.Pointer(&p.until)), 0, 0, 0)
	if errno != 0 {
		return false, asError("timerfd_settime", errno)
	}
	p.heard = false
	if err := p.raw.Read(p.look); err != nil {
		return false, fmt.Errorf("waiting for packets: %w", err)
	}
	return p.heard, nil
}

// look says whether there is something, as syscall.RawConn wants it.
func (p *poller) look(uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
	if errno != 0 {
		return false
	}
	for _, e := range p.events[:n] {
		switch int(e.Fd) {
		case p.timer: // it is set anew before the next wait
		case p.bell:
			var b [8]byte
			_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(p.bell), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		default:
			p.heard = true
		}
	}
	return n > 0
}

// ring makes wait return. Any goroutine may call it until close.
func (p *poller) ring() {
	b := [8]byte{1}
	_, _ = unix.Write(p.bell, b[:])
}

func (p *poller) close() {
	for _, fd := range []int{p.timer, p.bell} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	if p.file != nil {
		_ = p.file.Close()
	}
}

// asError returns the error of a raw system call.
func asError(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}
