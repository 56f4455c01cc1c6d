package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Frontend is what makes a packet a virtual server's: its destination, or the firewall mark that the rules gave it. It is
// comparable.
type Frontend struct {
	Address  netip.AddrPort // with Protocol; or
	Protocol corev1.Protocol
	Mark     uint32 // not 0, with V6
	V6       bool   // the family of a firewall-mark server, since one mark has a server in each
}

// Is6 says whether the server is for IPv6.
func (f Frontend) Is6() bool { return f.V6 || f.Address.Addr().Is6() }

// String returns the frontend as ipvsadm does.
func (f Frontend) String() string {
	switch {
	case f.Mark == 0:
		return string(f.Protocol) + "  " + f.Address.String()
	case f.V6:
		return fmt.Sprintf("FWM  %d IPv6", f.Mark)
	}
	return fmt.Sprintf("FWM  %d", f.Mark)
}

// Compare orders frontends: addresses before marks.
func (f Frontend) Compare(o Frontend) int {
	switch {
	case f.Mark != o.Mark:
		return cmp.Compare(f.Mark, o.Mark)
	case f.Protocol != o.Protocol:
		return cmp.Compare(f.Protocol, o.Protocol)
	}
	return cmp.Or(f.Address.Compare(o.Address), compareBool(f.V6, o.V6))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Scheduler is how a virtual server chooses among its real servers. It is comparable.
type Scheduler struct {
	Name     string // without the kernel module's ip_vs_
	HashPort bool   // mh and sh: the client's port counts, so that one client uses several real servers
	Fallback bool   // mh and sh: where the chosen real server takes no new connection, another one is chosen
}

// String returns the scheduler as the annotation has it.
func (s Scheduler) String() string {
	text := s.Name
	if s.HashPort {
		text += ",port"
	}
	if hashes(s.Name) && !s.Fallback {
		text += ",no-fallback"
	}
	return text
}

// AnnotationScheduler is the key of the annotation that chooses a Service's scheduler.
const AnnotationScheduler = "fairlead.io/ipvs-scheduler"

// DefaultScheduler is round robin.
func DefaultScheduler() Scheduler { return Scheduler{Name: "rr"} }

// Schedulers lists the names that the annotation may have.
func Schedulers() []string { return []string{"rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "dh"} }

// hashes says whether a scheduler is one of those that take flags.
func hashes(name string) bool { return name == "mh" || name == "sh" }

// ParseScheduler reads a scheduler's name, for mh and sh with flags after commas: "port" and "no-fallback".
func ParseScheduler(text string) (Scheduler, error) {
	name, flags, flagged := strings.Cut(text, ",")
	s := Scheduler{Name: strings.TrimSpace(name)}
	if !slices.Contains(Schedulers(), s.Name) {
		return Scheduler{}, fmt.Errorf("%q is none of the schedulers %s", s.Name, strings.Join(Schedulers(), ", "))
	}
	s.Fallback = hashes(s.Name)
	if !flagged {
		return s, nil
	}
	if !hashes(s.Name) {
		return Scheduler{}, fmt.Errorf("the scheduler %s has no flags, only mh and sh have", s.Name)
	}
	for flag := range strings.SplitSeq(flags, ",") {
		switch strings.TrimSpace(flag) {
		case "port":
			s.HashPort = true
		case "fallback":
			s.Fallback = true
		case "no-fallback":
			s.Fallback = false
		default:
			return Scheduler{}, fmt.Errorf("%q is none of the flags port, fallback and no-fallback", flag)
		}
	}
	return s, nil
}

// Settings are what a virtual server has beside its frontend and its real servers. They are comparable.
type Settings struct {
	Scheduler
	Affinity uint32 // seconds for which a client keeps its real server; 0: no longer than a connection
}

// Real is a real server: connections are translated to its address. It is comparable.
type Real struct {
	Address netip.AddrPort // port 0: the port that the client asked for
	Weight  uint32
}

// Server is a virtual server. Real servers are sorted by address.
type Server struct {
	Frontend
	Settings
	// Drain is the longest time for which a real server keeps the connections that it has when its endpoint is gone; 0: they
	// end at once, even before that, as for protocols in which a client notices nothing else.
	Drain time.Duration
	Reals []Real
	// Leaving are endpoints that are to get nothing new but are still there: sorted by address, and none is in Reals. Only
	// those that have been real servers matter.
	Leaving []Leaving
}

// Leaving is an endpoint that gets no new connections. While it is there, it keeps those that it has: a pod that is being
// deleted is, at the latest, until its termination grace period is over. It is comparable.
type Leaving struct {
	Address netip.AddrPort
	// Terminating: when the endpoint is gone, so is the pod, and no connection is worth waiting for.
	Terminating bool
}
