//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"

	"github.com/cloudflare/ipvs"
	"github.com/cloudflare/ipvs/netmask"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// IPVS is the kernel's table of virtual servers, in the network namespace of the thread that opened it.
type IPVS struct {
	client ipvs.Client
	socket int // for the older interface, which counts
}

// OpenIPVS opens the table. The error wraps fs.ErrNotExist where the kernel has no IPVS.
func OpenIPVS() (*IPVS, error) {
	c, err := ipvs.New()
	if err != nil {
		return nil, fmt.Errorf("opening IPVS: %w", err)
	}
	k := &IPVS{client: c}
	if k.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("opening a socket for IPVS: %w", err), k.close())
	}
	return k, nil
}

// Close closes the sockets.
func (k *IPVS) Close() error { return errors.Join(k.close(), unix.Close(k.socket)) }

func (k *IPVS) close() error {
	if c, ok := k.client.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// service translates a frontend and settings.
func service(f plan.Frontend, s plan.Settings) ipvs.Service {
	out := ipvs.Service{FWMark: f.Mark, Family: ipvs.INET, Netmask: netmask.MaskFrom(32, 32), Scheduler: s.Name, Timeout: s.Affinity}
	if f.Is6() {
		out.Family, out.Netmask = ipvs.INET6, netmask.MaskFrom(128, 128)
	}
	if f.Mark == 0 {
		out.Address, out.Port, out.Protocol = f.Address.Addr(), f.Address.Port(), ipvs.Protocol(number(f.Protocol))
	}
	if s.Affinity > 0 {
		out.Flags |= ipvs.ServicePersistent
	}
	if s.Fallback {
		out.Flags |= ipvs.ServiceSchedulerOpt1
	}
	if s.HashPort {
		out.Flags |= ipvs.ServiceSchedulerOpt2
	}
	return out
}

// server is the reverse of service.
func server(s ipvs.Service) plan.Server {
	out := plan.Server{Settings: plan.Settings{Scheduler: plan.Scheduler{
		Name: s.Scheduler, Fallback: s.Flags&ipvs.ServiceSchedulerOpt1 != 0, HashPort: s.Flags&ipvs.ServiceSchedulerOpt2 != 0,
	}}}
	if s.Flags&ipvs.ServicePersistent != 0 {
		out.Affinity = s.Timeout
	}
	if s.FWMark != 0 {
		out.Frontend = plan.Frontend{Mark: s.FWMark, V6: s.Family == ipvs.INET6}
	} else {
		out.Frontend = plan.Frontend{Address: netip.AddrPortFrom(s.Address, s.Port), Protocol: protocol(uint8(s.Protocol))}
	}
	return out
}

// destination translates a real server, which is always reached by NAT.
func destination(r plan.Real) ipvs.Destination {
	out := ipvs.Destination{Address: r.Address.Addr(), Port: r.Address.Port(), Weight: r.Weight, FwdMethod: ipvs.Masquarade, Family: ipvs.INET}
	if r.Address.Addr().Is6() {
		out.Family = ipvs.INET6
	}
	return out
}

// getInfo is IP_VS_SO_GET_INFO of linux/ip_vs.h.
const getInfo = 64 + 1024 + 64 + 1

// Count returns how many virtual servers for IPv4 there are: the third word of struct ip_vs_getinfo, which is as long as an
// ip_mreqn and read as one.
func (k *IPVS) Count() (int, error) {
	info, err := unix.GetsockoptIPMreqn(k.socket, unix.SOL_IP, getInfo)
	if err != nil {
		return 0, err
	}
	return int(info.Ifindex), nil
}

// List returns all virtual servers.
func (k *IPVS) List() ([]plan.Server, error) {
	list, err := k.client.Services()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := make([]plan.Server, 0, len(list))
	for i := range list {
		out = append(out, server(list[i].Service))
	}
	return out, nil
}

// Reals returns the real servers of a virtual server.
func (k *IPVS) Reals(f plan.Frontend) ([]Real, error) {
	list, err := k.client.Destinations(service(f, plan.Settings{}))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := make([]Real, 0, len(list))
	for i := range list {
		d := &list[i]
		out = append(out, Real{plan.Real{Address: netip.AddrPortFrom(d.Address, d.Port), Weight: d.Weight}, d.ActiveConnections + d.InactiveConnections})
	}
	return out, nil
}

// Do makes one change.
func (k *IPVS) Do(c Change) error {
	s, d := service(c.Frontend, c.Settings), destination(c.Real)
	var err error
	//exhaustive:enforce
	switch c.Verb {
	case AddServer:
		err = k.client.CreateService(s)
	case SetServer:
		err = k.client.UpdateService(s)
	case RemoveServer:
		err = k.client.RemoveService(s)
	case AddReal:
		err = k.client.CreateDestination(s, d)
	case SetReal:
		err = k.client.UpdateDestination(s, d)
	case RemoveReal:
		err = k.client.RemoveDestination(s, d)
	}
	if c.Verb <= SetServer && errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w %s: %w", ErrScheduler, c.Name, err)
	}
	return classify(err)
}
