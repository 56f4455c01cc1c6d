//go:build linux

package kernel

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

const (
	// proxyDevice is where kube-proxy in IPVS mode binds its addresses.
	proxyDevice = "kube-ipvs0"
	// calicoDevice is one that Calico has where it serves Services by eBPF, and only there.
	calicoDevice = "bpfin.cali"
	// ciliumDevice is one that Cilium has wherever it runs. Where no kube-proxy runs beside it, it does the work.
	ciliumDevice = "cilium_host"
	// proxyStatus is where kube-proxy says its mode, unless it is told to do so elsewhere.
	proxyStatus = "127.0.0.1:10249"
	// proxyEvery is how often kube-proxy is asked.
	proxyEvery = 10 * time.Second
	// proxyWait bounds the asking.
	proxyWait = 500 * time.Millisecond
)

// Node is the kernel of the node that it runs on, in the network namespace of the thread that calls it first. What the
// kernel lacks at first may come later. It is not for concurrent use.
type Node struct {
	Log *slog.Logger
	// State is the folder, of the host, for records that outlive the process.
	State string
	// Repaired is called when something that others changed is about to be put right; nil: nobody wants to know.
	Repaired func()
	// ProcSys is the folder of the kernel's settings; empty: /proc/sys. A container's own one is read-only.
	ProcSys string

	programmer *Programmer
	marked     []plan.Ports // that have a mark until the first plan
	closers    []io.Closer
	links      *rtnetlink.Conn
	device     *Dummy
	sockets    *netlink.Conn
	sysctls    Sysctls
	found      interfaces
	looks      int
	proxy      plan.Proxy
	proxyAsked time.Time
	settings   error // what came of the last try to set them
}

// Look says what the node has, and opens what Apply works with.
func (n *Node) Look(context.Context) (l plan.Local, err error) {
	if n.programmer == nil {
		if l.Missing, err = n.open(); err != nil || len(l.Missing) > 0 {
			return l, err
		}
	}
	l.Lacking = n.programmer.Lacking()
	found, err := n.interfaces()
	if err != nil {
		return l, err
	}
	n.found, l.Addresses, l.TakenUp, l.Bound = found, found.addresses, found.takenUp, found.bound
	l.Marked = slices.DeleteFunc(slices.Clone(n.marked), func(p plan.Ports) bool { return !slices.Contains(l.Addresses, p.Address) })
	l.Proxy = n.askProxy(found.proxy, time.Now())
	l.Listening, err = listeners(n.sockets)
	return l, err
}

// open opens what there is. The modules that it says are missing are loaded by the kernel itself where it may.
func (n *Node) open() (missing []string, err error) {
	lacks := func(module string, err error, meaning ...error) error {
		if slices.ContainsFunc(meaning, func(m error) bool { return errors.Is(err, m) }) {
			missing = append(missing, module)
			return nil
		}
		return err
	}
	servers, errServers := OpenIPVS()
	device, errDevice := OpenDummy()
	table, errTable := OpenTable()
	links, errLinks := rtnetlink.Dial(nil)
	sockets, errSockets := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	var opened []io.Closer
	for _, x := range []struct {
		io.Closer
		err error
	}{{servers, errServers}, {device, errDevice}, {table, errTable}, {links, errLinks}, {sockets, errSockets}} {
		if x.err == nil {
			opened = append(opened, x.Closer)
		}
	}
	err = errors.Join(lacks("ip_vs", errServers, fs.ErrNotExist), errDevice, lacks("nf_tables", errTable, unix.EPROTONOSUPPORT), errLinks, errSockets)
	if errDevice == nil {
		_, made := device.make()
		err = errors.Join(err, lacks("dummy", made, unix.EOPNOTSUPP))
	}
	var elements []Element
	if errTable == nil {
		var errRead error
		elements, _, errRead = table.Read()
		err = errors.Join(err, lacks("nf_tables", errRead, unix.EOPNOTSUPP, unix.EINVAL))
	}
	if err != nil || len(missing) > 0 {
		for _, c := range opened {
			err = errors.Join(err, c.Close())
		}
		return missing, err
	}
	for _, e := range elements {
		if e.Set == marks || e.Set == external {
			n.marked = append(n.marked, e.Ports)
		}
	}
	n.closers, n.links, n.device, n.sockets = opened, links, device, sockets
	n.programmer = &Programmer{Log: n.Log, Servers: servers, Device: device, Filter: table, Repaired: n.Repaired}
	n.sysctls = Sysctls{Proc: cmp.Or(n.ProcSys, "/proc/sys"), Record: filepath.Join(n.State, "ipvs-sysctls.json"), Log: n.Log}
	return nil, nil
}

// interfaces are what a node's interfaces say. The lists are sorted, and have nothing twice.
type interfaces struct {
	addresses []netip.Addr // the node's
	takenUp   []netip.Addr // those of kube-proxy in IPVS mode
	bound     []netip.Addr // ours
	uplinks   []string     // the interfaces that ask for neighbors
	proxy     plan.Proxy   // what serves Services where no kube-proxy says that it does
}

// interfaces reads them. Where many addresses are ours, all of the node's are read now and then only.
func (n *Node) interfaces() (out interfaces, err error) {
	links, err := n.links.Link.List()
	if err != nil {
		return out, fmt.Errorf("listing interfaces: %w", err)
	}
	type link struct {
		name string
		arp  bool
	}
	names := map[uint32]link{}
	for i := range links {
		if a := links[i].Attributes; a != nil {
			names[links[i].Index] = link{a.Name, links[i].Flags&(unix.IFF_NOARP|unix.IFF_LOOPBACK) == 0}
			out.proxy = cmp.Or(out.proxy, proxyOf(a.Name))
		}
	}
	n.looks++
	if was := n.found; len(was.bound) > few && n.looks%addressRounds != 0 {
		was.proxy = out.proxy
		return was, nil
	}
	list, err := n.links.Address.List()
	if err != nil {
		return out, fmt.Errorf("listing addresses: %w", err)
	}
	for _, m := range list {
		on := names[m.Index]
		if m.Attributes == nil {
			continue
		}
		ip := m.Attributes.Address
		if len(m.Attributes.Local) > 0 {
			ip = m.Attributes.Local // where Address is the other end's
		}
		a, ok := netip.AddrFromSlice(ip)
		if a = a.Unmap(); !ok || a.IsLoopback() || a.IsLinkLocalUnicast() {
			continue
		}
		switch {
		case on.name == DeviceName:
			out.bound = append(out.bound, a)
		case on.name == proxyDevice:
			out.takenUp = append(out.takenUp, a)
		default:
			out.addresses = append(out.addresses, a)
			if on.arp && a.Is4() {
				out.uplinks = append(out.uplinks, on.name)
			}
		}
	}
	routed, err := n.device.routed()
	if err != nil {
		return out, err
	}
	for _, a := range routed {
		out.bound = append(out.bound, a.Addr)
	}
	for _, x := range []*[]netip.Addr{&out.addresses, &out.takenUp, &out.bound} {
		slices.SortFunc(*x, netip.Addr.Compare)
		*x = slices.Compact(*x)
	}
	slices.Sort(out.uplinks)
	out.uplinks = slices.Compact(out.uplinks)
	return out, nil
}

// proxyOf tells by the name of an interface what serves Services. Nodes have one of these, if any.
func proxyOf(device string) plan.Proxy {
	switch device {
	case proxyDevice:
		return plan.ProxyIPVS
	case calicoDevice:
		return plan.ProxyCalico
	case ciliumDevice:
		return plan.ProxyCilium
	}
	return plan.ProxyNone
}

// askProxy asks kube-proxy for its mode, now and then. Where it does not answer, a device tells that it ran in IPVS mode and
// may come back, or what there is instead.
func (n *Node) askProxy(device plan.Proxy, now time.Time) plan.Proxy {
	if now.Sub(n.proxyAsked) >= proxyEvery || n.proxy != plan.ProxyIPVS && device == plan.ProxyIPVS {
		n.proxyAsked = now
		n.proxy = cmp.Or(proxyMode(), device)
	}
	return n.proxy
}

// proxyMode asks kube-proxy, on a socket of this thread's network namespace.
func proxyMode() plan.Proxy {
	c, err := net.DialTimeout("tcp", proxyStatus, proxyWait)
	if err != nil {
		return plan.ProxyNone
	}
	defer c.Close()
	if c.SetDeadline(time.Now().Add(proxyWait)) != nil {
		return plan.ProxyNone
	}
	if _, err := io.WriteString(c, "GET /proxyMode HTTP/1.0\r\n\r\n"); err != nil {
		return plan.ProxyNone
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != http.StatusOK {
		return plan.ProxyNone
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, 64))
	if err != nil {
		return plan.ProxyNone
	}
	switch mode := plan.Proxy(strings.TrimSpace(string(text))); mode {
	case plan.ProxyIPTables, plan.ProxyNFTables, plan.ProxyIPVS:
		return mode
	default:
		return plan.ProxyNone
	}
}

// Apply makes the kernel hold the plan, after the settings that it needs.
func (n *Node) Apply(ctx context.Context, want plan.Plan) error {
	n.marked = nil
	n.settings = n.sysctls.Apply(n.found.uplinks, want.Reserved)
	return errors.Join(n.settings, n.programmer.Apply(ctx, want))
}

// Check repairs what others changed.
func (n *Node) Check(ctx context.Context) error {
	settings := n.sysctls.Apply(n.found.uplinks, n.programmer.want.Reserved)
	if n.settings != nil {
		settings = nil // told by Apply, and tried again there
	}
	return errors.Join(settings, n.programmer.Check(ctx))
}

// Failed returns what of the last plan the kernel does not hold.
func (n *Node) Failed() plan.Failed {
	if n.programmer == nil {
		return plan.Failed{Filter: true}
	}
	return n.programmer.Failed()
}

// Cleanup leaves the node as it was found: without what is ours, and with the settings that it had. ip_forward and
// vs.conntrack stay, on which others may have come to rely.
func (n *Node) Cleanup(ctx context.Context) error {
	l, err := n.Look(ctx)
	if err != nil {
		return err
	}
	if len(l.Missing) > 0 {
		return nil // then nothing was ever made
	}
	return errors.Join(n.programmer.Cleanup(), n.sysctls.Restore())
}

// Close closes the sockets. The kernel keeps what it has.
func (n *Node) Close() error {
	var errs []error
	for _, c := range n.closers {
		errs = append(errs, c.Close())
	}
	n.programmer, n.marked, n.closers = nil, nil, nil
	return errors.Join(errs...)
}
