//go:build vm

package ipvs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// host is a namespace that plays a machine or a pod.
type host struct {
	*netnstest.NS
	name   string
	v4, v6 netip.Addr
	kernel *kernel.Node // of nodes
}

// lab is a segment with the nodes a, b and c, a client outside the cluster, and pods: pod1 and pod2 on a, pod3 on b, none on
// c. Pods' interfaces on a node have no addresses. All of it is in one machine; every case has it for itself.
type lab struct {
	t      *testing.T
	swtch  *netnstest.NS
	client *host
	nodes  map[string]*host
	pods   map[string]*host
	// marksOnly has the nodes serve as beside kube-proxy in IPVS mode.
	marksOnly bool
}

const (
	vip4, vip6   = "192.0.2.1", "2001:db8::1"
	other4       = "192.0.2.2"
	web4, web6   = vip4 + ":80", "[" + vip6 + "]:80"
	dns4, dns6   = vip4 + ":53", "[" + vip6 + "]:53"
	patience     = 3 * time.Second
	unanswered   = 500 * time.Millisecond // how long a packet that is dropped is waited for
	rangedTarget = 20000
)

// podPorts are those on which pods listen, by TCP and UDP.
func podPorts() []int { return []int{8080, 8053, 10000, 15000, 20000, 21000, 7777} }

func newLab(t *testing.T) *lab {
	l := &lab{t: t, swtch: netnstest.New(t), nodes: map[string]*host{}, pods: map[string]*host{}}
	l.swtch.Lines(t, `
		ip link add lan type bridge mcast_snooping 0
		ip link set lan up`)
	for i, name := range []string{"a", "b", "c"} {
		n := l.attach(name, fmt.Sprintf("10.0.0.%d", i+1), fmt.Sprintf("fd00:a::%d", i+1))
		n.Command(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		l.nodes[name] = n
	}
	l.client = l.attach("client", "10.0.0.250", "fd00:a::250")
	for i, on := range []string{"a", "a", "b"} {
		l.pod(fmt.Sprintf("pod%d", i+1), l.nodes[on], i+1)
	}
	l.via("a")
	l.nodes["a"].Command(t, "sysctl", "-qw", "net.ipv4.ip_forward=0") // it is for the programmer to set
	for _, n := range l.nodes {
		n.kernel = &kernel.Node{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), State: t.TempDir()}
	}
	return l
}

// attach makes a host on the segment.
func (l *lab) attach(name, v4, v6 string) *host {
	h := &host{NS: netnstest.New(l.t), name: name, v4: netip.MustParseAddr(v4), v6: netip.MustParseAddr(v6)}
	if name != "client" {
		// The first interface of all, from which the kernel likes to take addresses.
		h.Command(l.t, "ip", "link", "add", kernel.DeviceName, "type", "dummy")
		h.Command(l.t, "ip", "link", "set", kernel.DeviceName, "arp", "off")
	}
	netnstest.Veth(l.t, h.NS, "eth0", l.swtch, "to-"+name)
	l.swtch.Command(l.t, "ip", "link", "set", "to-"+name, "master", "lan")
	h.Lines(l.t, "ip addr add "+v4+"/24 dev eth0\nip addr add "+v6+"/64 dev eth0 nodad")
	return h
}

// pod makes a pod on a node, which listens on podPorts, and tells all nodes the way to it.
func (l *lab) pod(name string, on *host, number int) {
	p := &host{NS: netnstest.New(l.t), name: name,
		v4: netip.AddrFrom4([4]byte{10, 244, 0, byte(number)}), v6: netip.MustParseAddr(fmt.Sprintf("fd00:244::%d", number))}
	netnstest.Veth(l.t, on.NS, name, p.NS, "eth0")
	on.Command(l.t, "ip", "link", "set", name, "address", "02:00:00:00:00:01")
	p.Lines(l.t, fmt.Sprintf(`
		ip addr add %s/32 dev eth0
		ip addr add %s/128 dev eth0 nodad
		ip route add 169.254.1.1 dev eth0
		ip route add default via 169.254.1.1
		ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0
		ip -6 route add default via fe80::1 dev eth0`, p.v4, p.v6))
	on.Lines(l.t, fmt.Sprintf(`
		ip addr add fe80::1/64 dev %[1]s nodad
		ip route add %[2]s dev %[1]s
		ip -6 route add %[3]s dev %[1]s`, name, p.v4, p.v6))
	for _, n := range l.nodes {
		if n != on {
			n.Lines(l.t, fmt.Sprintf("ip route add %s via %s\nip -6 route add %s via %s", p.v4, on.v4, p.v6, on.v6))
		}
	}
	l.pods[name] = p
	for _, port := range podPorts() {
		p.serve(l.t, port)
	}
}

// serve answers on a port: by TCP as answer does; by UDP with its first line for every packet; until stop is called.
func (h *host) serve(t *testing.T, port int) (stop func()) {
	t.Helper()
	var listener net.Listener
	var packets net.PacketConn
	var err, errUDP error
	h.Do(func() {
		listener, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		packets, errUDP = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	})
	if err != nil || errUDP != nil {
		t.Fatal(err, errUDP)
	}
	stop = func() { listener.Close(); packets.Close() }
	t.Cleanup(stop)
	go h.answer(listener)
	go func() {
		buffer := make([]byte, 2048)
		for {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			packets.WriteTo([]byte(h.greeting(from)), from)
		}
	}()
	return stop
}

// answer answers connections with a line "name address-of-the-client" and then with what it gets.
func (h *host) answer(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := io.WriteString(c, h.greeting(c.RemoteAddr())); err == nil {
				io.Copy(c, c)
			}
		}()
	}
}

func (h *host) greeting(from net.Addr) string {
	return h.name + " " + netip.MustParseAddrPort(from.String()).Addr().Unmap().String() + "\n"
}

// via makes a node the client's way to the load balancer's addresses.
func (l *lab) via(node string) {
	n := l.nodes[node]
	l.client.Lines(l.t, fmt.Sprintf("ip route replace 192.0.2.0/24 via %s\nip -6 route replace 2001:db8::/64 via %s", n.v4, n.v6))
}

// flow is a connection, or, by UDP, a socket that has sent.
type flow struct {
	net.Conn
	reader      *bufio.Reader
	pod, source string // as the answer has them
}

// open connects and reads the answer. from is an address or port of its own, "" for any.
func (h *host) open(network, to, from string, limit time.Duration) (*flow, error) {
	d := net.Dialer{Timeout: limit}
	if from != "" {
		var err error
		if network == "tcp" {
			d.LocalAddr, err = net.ResolveTCPAddr(network, from)
		} else {
			d.LocalAddr, err = net.ResolveUDPAddr(network, from)
		}
		if err != nil {
			return nil, err
		}
	}
	var c net.Conn
	var err error
	h.Do(func() { c, err = d.Dial(network, to) })
	if err != nil {
		return nil, err
	}
	f := &flow{Conn: c, reader: bufio.NewReader(c)}
	if network == "udp" {
		return f, f.send(limit)
	}
	if err := f.read(limit); err != nil {
		c.Close()
		return nil, err
	}
	return f, nil
}

func (f *flow) read(limit time.Duration) error {
	f.SetReadDeadline(time.Now().Add(limit))
	line, err := f.reader.ReadString('\n')
	if err != nil {
		return err
	}
	f.pod, f.source, _ = strings.Cut(strings.TrimSpace(line), " ")
	return nil
}

// send sends a line and reads the answer.
func (f *flow) send(limit time.Duration) error {
	if _, err := io.WriteString(f, f.pod+" "+f.source+"\n"); err != nil {
		return err
	}
	return f.read(limit)
}

// ask is open and close.
func (h *host) ask(network, to string) (pod, source string, err error) {
	f, err := h.open(network, to, "", patience)
	if err != nil {
		return "", "", fmt.Errorf("%s asks %s by %s: %w", h.name, to, network, err)
	}
	f.Close()
	return f.pod, f.source, nil
}

// answers asks n times and returns how often each pod answered; all have to see the same source, unless it is "".
func (l *lab) answers(h *host, network, to string, n int, source string) map[string]int {
	l.t.Helper()
	out := map[string]int{}
	for range n {
		pod, from, err := h.ask(network, to)
		if err != nil {
			l.t.Fatal(err)
		}
		if source != "" && from != source {
			l.t.Fatalf("%s asks %s by %s: %s sees it as %s, want %s", h.name, to, network, pod, from, source)
		}
		out[pod]++
	}
	return out
}

// silent fails unless nobody answers, nor refuses.
func (l *lab) silent(h *host, network, to, from string) {
	l.t.Helper()
	f, err := h.open(network, to, from, unanswered)
	if err == nil {
		l.t.Fatalf("%s asks %s by %s, and %s answers", h.name, to, network, f.pod)
	}
	if !timedOut(err) {
		l.t.Fatalf("%s asks %s by %s: %v, want no answer at all", h.name, to, network, err)
	}
}

// refused fails unless the connection is refused. The kernel tells a client so about once a second at most, after a few in a
// row (icmp_ratelimit, icmp(7); what it redirects counts too): TCP asks again, and for UDP this does.
func (l *lab) refused(h *host, network, to string) {
	l.t.Helper()
	limit, began := patience, time.Now()
	if network == "udp" {
		limit = unanswered
	}
	for {
		f, err := h.open(network, to, "", limit)
		if f != nil {
			f.Close()
		}
		if err != nil && strings.Contains(err.Error(), "refused") {
			return
		}
		if !timedOut(err) || time.Since(began) > patience {
			l.t.Fatalf("%s asks %s by %s: %v, want that it is refused", h.name, to, network, err)
		}
	}
}

func timedOut(err error) bool {
	e := net.Error(nil)
	return errors.As(err, &e) && e.Timeout()
}

// service is one with both addresses, ports 80/TCP and 53/UDP, and these pods.
func (l *lab) service(pods ...string) plan.Service {
	s := plan.Service{Namespace: "x", Name: "web", UID: "web", LoadBalancer: []netip.Addr{netip.MustParseAddr(vip4), netip.MustParseAddr(vip6)}}
	s.Ports = []plan.Port{{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80}, {Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}}
	slice := &plan.Slice{Ports: []plan.Port{{Name: "web", Protocol: corev1.ProtocolTCP, Port: 8080}, {Name: "dns", Protocol: corev1.ProtocolUDP, Port: 8053}}}
	for _, name := range pods {
		on := "a"
		if name == "pod3" {
			on = "b"
		}
		for _, a := range []netip.Addr{l.pods[name].v4, l.pods[name].v6} {
			slice.Endpoints = append(slice.Endpoints, plan.Endpoint{Address: a, Node: on, Ready: true, Serving: true})
		}
	}
	s.Slices = []*plan.Slice{slice}
	return s
}

// view is what a node sees.
func (l *lab) view(node string, services ...plan.Service) plan.View {
	n := l.nodes[node]
	return plan.View{Node: node, Services: services, Addresses: []netip.Addr{n.v4, n.v6}, Drain: time.Minute, MarksOnly: l.marksOnly,
		Internal: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/64")}}
}

// program makes all nodes serve these Services, and nothing else.
func (l *lab) program(services ...plan.Service) {
	l.t.Helper()
	for name := range l.nodes {
		l.apply(name, l.view(name, services...))
	}
}

// apply makes a node serve a view.
func (l *lab) apply(node string, v plan.View) {
	l.t.Helper()
	n := l.nodes[node]
	p := plan.Build(&v)
	for _, x := range p.Verdicts {
		l.t.Logf("node %s: %s", node, x.Verdict)
	}
	var err error
	n.Do(func() {
		if _, err = n.kernel.Look(l.t.Context()); err == nil {
			err = n.kernel.Apply(l.t.Context(), p)
		}
	})
	if err != nil {
		l.t.Fatalf("node %s: %v", node, err)
	}
}
