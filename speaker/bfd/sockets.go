//go:build linux

package bfd

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/internal/rawudp"
)

// sockets holds the sockets that the sessions share. It is owned by the goroutine of Run.
type sockets struct {
	poller    *poller
	listeners map[listener]int
	listening map[int]listener // the same by descriptor
	senders   map[sender]int
	echoes    map[int]*echoSocket // by descriptor
	envelope  rawudp.Envelope
}

func newSockets() (*sockets, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &sockets{
		poller: p, listeners: map[listener]int{}, listening: map[int]listener{}, senders: map[sender]int{},
		echoes: map[int]*echoSocket{},
	}, nil
}

func listenerOf(s Session) listener { return listener{s.Peer.Is6(), s.port(), s.VRF} }

func senderOf(s Session) sender { return sender{s.Peer.Is6(), s.VRF} }

// prepare opens the sockets of a session that are not open.
func (s *sockets) prepare(wanted Session) error {
	if err := s.listen(listenerOf(wanted)); err != nil {
		return err
	}
	key := senderOf(wanted)
	if _, ok := s.senders[key]; ok {
		return nil
	}
	fd, err := key.open()
	if err != nil {
		return err
	}
	s.senders[key] = fd
	return nil
}

func (s *sockets) listen(l listener) error {
	if _, ok := s.listeners[l]; ok {
		return nil
	}
	fd, err := l.open()
	if err != nil {
		return err
	}
	if err := s.poller.add(fd); err != nil {
		_ = unix.Close(fd)
		return err
	}
	s.listeners[l], s.listening[fd] = fd, l
	return nil
}

// arm makes the poller tell when there is something to read.
func (s *sockets) arm() {
	for fd := range s.listening {
		s.poller.arm(fd)
	}
	for fd := range s.echoes {
		s.poller.arm(fd)
	}
}

// keep closes the sockets that no session needs.
func (s *sockets) keep(sessions []*session) {
	listeners, senders, echoes := map[listener]bool{}, map[sender]bool{}, map[int]bool{}
	for _, one := range sessions {
		listeners[listenerOf(one.Session)], senders[senderOf(one.Session)] = true, true
		switch {
		case !one.echoWanted():
		case one.Peer.Is6():
			listeners[echoListener(one.VRF)] = true
		default:
			echoes[one.heard.index] = true
		}
	}
	for l, fd := range s.listeners {
		if !listeners[l] {
			_ = unix.Close(fd)
			delete(s.listeners, l)
			delete(s.listening, fd)
		}
	}
	for k, fd := range s.senders {
		if !senders[k] {
			_ = unix.Close(fd)
			delete(s.senders, k)
		}
	}
	for fd, e := range s.echoes {
		if !echoes[e.index] {
			s.closeEcho(fd)
		}
	}
}

// close closes every socket.
func (s *sockets) close() {
	s.keep(nil)
	s.poller.close()
}

// send sends a packet to a session's destination.
func (s *sockets) send(to destination, b []byte) error {
	fd, ok := s.senders[to.sender]
	if !ok {
		return os.ErrClosed
	}
	return s.envelope.Send(fd, b, to.control, to.address)
}
