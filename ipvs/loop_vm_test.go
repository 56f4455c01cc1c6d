//go:build vm

package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	speakerplan "github.com/fairlead-lb/fairlead/speaker/plan"
)

// start is run without the programmer.
func (l *lab) start(node string, view plan.View) (stop func()) {
	_, stop = l.run(node, view)
	return stop
}

// run runs a programmer on a node until stop is called.
func (l *lab) run(node string, view plan.View) (p *Programmer, stop func()) {
	l.t.Helper()
	n := l.nodes[node]
	p = &Programmer{Log: slog.New(slog.NewTextHandler(l.t.Output(), nil)), Node: node, Kernel: n.kernel, Dirty: make(chan struct{}),
		View: func(plan.Local) (plan.View, bool) { return view, true }}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error)
	go n.Do(func() { done <- p.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	netnstest.Eventually(l.t, 10*time.Second, func() error {
		if r := p.Report(); !r.Ready {
			return fmt.Errorf("not ready: %v", r.Problems)
		}
		return nil
	})
	return p, stop
}

// repair: what others take away is there again within 2 s, whatever it is.
func repair(l *lab) {
	t := l.t
	defer l.start("a", l.view("a", l.service("pod1")))()
	for _, damage := range []string{
		"ipvsadm -C", "nft flush ruleset", "nft delete table ip6 fairlead", "ip addr del 192.0.2.1/32 dev dummy-fairlead",
		"ipvsadm -d -t 192.0.2.1:80 -r 10.244.0.1:8080", "sysctl -w net.ipv4.vs.conntrack=0", "ip link del dummy-fairlead",
		"nft flush chain ip fairlead postrouting",
	} {
		l.answers(l.client, "tcp", web4, 1, "10.0.0.1")
		f := strings.Fields(damage)
		l.nodes["a"].Command(t, f[0], f[1:]...)
		began := time.Now()
		limit := 2 * time.Second
		if strings.HasPrefix(damage, "ipvsadm -d") {
			limit = 35 * time.Second // real servers are looked at in turn
		}
		for {
			err := errors.Join(l.quick(web4, "10.0.0.1"), l.quick(web6, "fd00:a::1"))
			took := time.Since(began)
			if err == nil {
				t.Logf("%s: answered %s later", damage, took.Round(time.Millisecond))
				break
			}
			if took > limit {
				t.Fatalf("%s: after %s still %v", damage, took, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// quick asks once, without waiting for a client that tries again.
func (l *lab) quick(to, source string) error {
	f, err := l.client.open("tcp", to, "", 300*time.Millisecond)
	if err != nil {
		return err
	}
	f.Close()
	if f.source != source {
		return fmt.Errorf("%s sees the client as %s, want %s", to, f.source, source)
	}
	return nil
}

// listener: where a process of a node listens on a port of a NodePortRange, it goes on to have it there, and the node says so;
// the other node serves the port. When it stops, the node serves it, too. Who listens later changes nothing, not even for a
// programmer that starts then.
func listener(l *lab) {
	t := l.t
	stopListening := l.nodes["a"].serve(t, 33334)
	programmers, stops := map[string]*Programmer{}, map[string]func(){}
	run := func(name string) {
		v := l.view(name, l.service("pod1", "pod3"))
		v.Services[0].NodePorts = []plan.NodePort{{Name: "web", Port: 33334, Addresses: v.Addresses}, {Name: "dns", Port: 33334, Addresses: v.Addresses}}
		programmers[name], stops[name] = l.run(name, v)
	}
	for name := range l.nodes {
		run(name)
		defer func() { stops[name]() }()
	}
	refused := func(node string) (n int) {
		for _, h := range programmers[node].Report().NodePorts {
			if h.Refused {
				n++
			}
		}
		return n
	}
	ask := func(node string, served bool) error {
		for _, a := range []netip.Addr{l.nodes[node].v4, l.nodes[node].v6} {
			for _, network := range []string{"tcp", "udp"} {
				pod, _, err := l.client.ask(network, netip.AddrPortFrom(a, 33334).String())
				if err != nil {
					return err
				}
				if (pod != node) != served {
					return fmt.Errorf("%s by %s is answered by %s", a, network, pod)
				}
			}
		}
		return nil
	}
	if err := errors.Join(ask("a", false), ask("b", true)); err != nil {
		t.Error(err)
	}
	if n := len(programmers["a"].Report().Verdicts); refused("a") != 4 || refused("b") != 0 || n == 0 {
		t.Errorf("a refuses %d ports for %d reasons, b %d", refused("a"), n, refused("b"))
	}
	stopListening()
	netnstest.Eventually(t, 10*time.Second, func() error {
		if n := refused("a"); n > 0 {
			return fmt.Errorf("a still refuses %d ports", n)
		}
		return ask("a", true)
	})
	defer l.nodes["b"].serve(t, 33334)()
	stops["b"]()
	l.renew(l.nodes["b"])
	run("b")
	if err := ask("b", true); err != nil || refused("b") != 0 {
		t.Errorf("after a restart b refuses %d ports, since a process listens by now: %v", refused("b"), err)
	}
}

// rolling: while one pod after the other is deleted and comes back, and clients go on asking by connections that last for a
// while, none of them fails.
func rolling(l *lab) {
	t := l.t
	pods := []string{"pod1", "pod2", "pod3"}
	// view has all pods but one, which is being deleted or gone.
	view := func(leaving string, gone bool) plan.View {
		v := l.view("a", l.service(pods...))
		v.Drain = time.Second
		slice := v.Services[0].Slices[0]
		of := func(e plan.Endpoint) bool {
			p := l.pods[leaving]
			return p != nil && (e.Address == p.v4 || e.Address == p.v6)
		}
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; of(*e) {
				e.Ready, e.Terminating = false, true
			}
		}
		if gone {
			slice.Endpoints = slices.DeleteFunc(slice.Endpoints, of)
		}
		return v
	}
	a := l.nodes["a"]
	holds := func(v plan.View, d time.Duration) {
		l.apply("a", v)
		for began := time.Now(); time.Since(began) < d; time.Sleep(100 * time.Millisecond) {
			var err error
			if a.Do(func() { err = a.kernel.Check(t.Context()) }); err != nil {
				t.Error(err)
			}
		}
	}
	holds(view("", false), 0)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	var asked atomic.Int32
	for _, to := range []string{web4, web6, web4, web6} {
		asking.Go(func() {
			for ; ctx.Err() == nil; asked.Add(1) {
				f, err := l.client.open("tcp", to, "", patience)
				if err != nil {
					t.Errorf("a new connection to %s: %v", to, err)
					continue
				}
				pod := f.pod
				for range 5 {
					time.Sleep(20 * time.Millisecond)
					if err := f.send(patience); err != nil || f.pod != pod {
						t.Errorf("a connection to %s at %s: %v, now %s", to, pod, err, f.pod)
						break
					}
				}
				f.Close()
			}
		})
	}
	for _, pod := range pods {
		holds(view(pod, false), time.Second)
		holds(view(pod, true), 300*time.Millisecond)
		holds(view("", false), 300*time.Millisecond)
	}
	cancel()
	asking.Wait()
	t.Logf("%d connections, none failed", asked.Load())
}

// restart: a programmer that stops, and another one that starts, disturb no connection and no request.
func restart(l *lab) {
	t := l.t
	a := l.nodes["a"]
	view := l.view("a", l.service("pod1", "pod2", "pod3"))
	stop := l.start("a", view)
	defer func() { stop() }()
	var flows []*flow
	for _, to := range []string{web4, web6, web4, web6} {
		f, err := l.client.open("tcp", to, "", patience)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		flows = append(flows, f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asked := 0
	asking.Go(func() {
		for ; ctx.Err() == nil; asked++ {
			if _, _, err := l.client.ask("tcp", web4); err != nil {
				t.Error(err)
			}
		}
	})
	stop()
	l.renew(a)
	stop = l.start("a", view)
	time.Sleep(1500 * time.Millisecond) // and a check
	cancel()
	asking.Wait()
	t.Logf("%d requests meanwhile", asked)
	for _, f := range flows {
		pod := f.pod
		if err := f.send(patience); err != nil || f.pod != pod {
			t.Errorf("a connection to %s: %v, now %s", pod, err, f.pod)
		}
	}
}

// renew has a node's kernel looked at anew, as by another process.
func (l *lab) renew(n *host) {
	l.t.Helper()
	if err := n.kernel.Close(); err != nil {
		l.t.Error(err)
	}
	n.kernel = &kernel.Node{Log: n.kernel.Log, State: n.kernel.State}
}

// cleanup: the node is as it was found.
func cleanup(l *lab) {
	t := l.t
	a := l.nodes["a"]
	var err error
	a.Do(func() { err = a.kernel.Cleanup(t.Context()) }) // the lab's
	if err != nil {
		t.Fatal(err)
	}
	state := func() string {
		return a.Command(t, "sh", "-c", `ipvsadm -Sn; nft list ruleset; /sbin/ip -br addr | sort
			cd /proc/sys/net/ipv4; for f in vs/expire_nodest_conn vs/expire_quiescent_template conf/*/arp_announce ip_local_reserved_ports; do echo $f $(cat $f); done`)
	}
	a.Command(t, "ipvsadm", "-A", "-t", "203.0.113.1:80", "-s", "rr")
	a.Command(t, "nft", "add", "table", "ip", "theirs")
	before := state()
	v := l.view("a", l.service("pod1", "pod3"))
	v.Reserved = []portrange.Range{{First: 33000, Last: 33999}}
	l.apply("a", v)
	during := state()
	for _, want := range []string{"192.0.2.1:80", "conf/eth0/arp_announce 2", "conf/all/arp_announce 0", "expire_nodest_conn 1", "ports 33000-33999"} {
		if !strings.Contains(during, want) {
			t.Errorf("while it runs there is no %q:\n%s", want, during)
		}
	}
	// Another process cleans up.
	l.renew(a)
	a.Do(func() { err = a.kernel.Cleanup(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	if after := state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if got := a.Command(t, "sysctl", "-n", "net.ipv4.ip_forward", "net.ipv4.vs.conntrack"); got != "1\n1\n" {
		t.Errorf("ip_forward and vs.conntrack are %q: others may have come to rely on them", got)
	}
}

// yielding: an address goes back to kube-proxy in IPVS mode, whose server and device are there in its place. Whoever is connected
// notices nothing until the address is let go, and nobody else does at any time.
func yielding(l *lab) {
	t := l.t
	l.marksOnly = true
	defer func() { l.marksOnly = false }()
	a := l.nodes["a"]
	l.apply("a", l.view("a", l.service("pod1")))
	f, err := l.client.open("tcp", web4, "", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.Lines(t, `
		ipvsadm -A -t 192.0.2.1:80
		ipvsadm -a -t 192.0.2.1:80 -r 10.244.0.2:8080 -m
		ip link add kube-ipvs0 type dummy
		ip addr add 192.0.2.1/32 dev kube-ipvs0`)
	defer func() {
		a.Lines(t, "ipvsadm -D -t 192.0.2.1:80\nip link del kube-ipvs0")
		l.renew(a)
	}()
	local, err := plan.Local{}, error(nil)
	a.Do(func() { local, err = a.kernel.Look(t.Context()) })
	if err != nil || local.Proxy != plan.ProxyIPVS || !slices.Equal(local.TakenUp, []netip.Addr{netip.MustParseAddr(vip4)}) || slices.Contains(local.Addresses, netip.MustParseAddr(vip4)) || !local.Binds([]netip.Addr{netip.MustParseAddr(vip4)}) {
		t.Errorf("the node has %v of kube-proxy in mode %s, %v itself and %v of ours (%v)", local.TakenUp, local.Proxy, local.Addresses, local.Bound, err)
	}
	if got := l.answers(l.client, "tcp", web4, 4, ""); got["pod1"] != 4 {
		t.Errorf("before it yields %v answer, want ours", got)
	}
	s := l.service("pod1")
	s.Yields = true
	l.apply("a", l.view("a", s))
	for range 2 {
		if got := l.answers(l.client, "tcp", web4, 4, ""); got["pod2"] != 4 {
			t.Errorf("when it yields %v answer, want kube-proxy's", got)
		}
		if err := f.send(patience); err != nil || f.pod != "pod1" {
			t.Fatalf("the connection that there was: %v, now %s", err, f.pod)
		}
	}
	l.apply("a", l.view("a"))
	if got := l.answers(l.client, "tcp", web4, 4, ""); got["pod2"] != 4 {
		t.Errorf("when it is let go %v answer, want kube-proxy's", got)
	}
}

// oneAnswer: three nodes have an address of the segment; only the one whose speaker announces it answers for it, and no frame
// of another one carries it as the sender, not even where that one's answers leave by the segment, nor where kube-proxy in IPVS
// mode without strictARP has the address as well.
func oneAnswer(l *lab) {
	t := l.t
	vip := netip.MustParseAddr("10.0.0.100")
	s := l.service("pod1", "pod2", "pod3")
	s.LoadBalancer = []netip.Addr{vip}
	senders := l.watchARP(vip)
	l.program(s)
	if l.marksOnly {
		for _, n := range l.nodes {
			n.Lines(t, "ip link add kube-ipvs0 type dummy\nip addr add 10.0.0.100/32 dev kube-ipvs0")
			defer func() {
				n.Command(t, "ip", "link", "del", "kube-ipvs0")
				l.renew(n)
			}()
		}
	}
	if _, err := l.client.Try("ping", "-c1", "-W1", vip.String()); err == nil {
		t.Fatal("somebody answers though nobody announces")
	}
	if got := senders(); len(got) > 0 {
		t.Fatalf("ARP frames with the address come from %v", got)
	}

	link := l.linkOf("a")
	var announcer *layer2.Announcer
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go l.nodes["a"].Do(func() {
		announcer = layer2.New(layer2.Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		go func() {
			if err := announcer.Apply(ctx, []speakerplan.Announcement{{Address: vip, Link: link}}); err != nil {
				t.Error(err)
			}
		}()
		done <- announcer.Run(ctx)
	})
	defer func() { stop(); <-done }()
	to := netip.AddrPortFrom(vip, 80).String()
	l.answers(l.client, "tcp", to, 3, "10.0.0.1")
	if got := l.client.Command(t, "ip", "neigh", "show", vip.String()); !strings.Contains(got, link.HardwareAddr().String()) {
		t.Errorf("the client's neighbor is %s, want %s", got, link.HardwareAddr())
	}

	// Others serve it too: for their own processes and pods, and for who sends them packets all the same.
	for _, name := range []string{"b", "c"} {
		n := l.nodes[name]
		l.answers(n, "tcp", to, 2, "")
		mac := l.linkOf(name).HardwareAddr()
		l.client.Command(t, "ip", "neigh", "replace", vip.String(), "lladdr", mac.String(), "dev", "eth0")
		n.Command(t, "ip", "neigh", "flush", "dev", "eth0")
		l.answers(l.client, "tcp", to, 2, n.v4.String())
	}
	l.answers(l.pods["pod3"], "tcp", to, 2, "")
	if got := senders(); len(got) != 1 || got["a"] == 0 {
		t.Errorf("ARP frames with the address as their sender come from %v, want node a alone", got)
	}
	l.client.Command(t, "ip", "neigh", "del", vip.String(), "dev", "eth0")
}

func (l *lab) linkOf(node string) speakerplan.Link {
	l.t.Helper()
	var i *net.Interface
	var err error
	l.nodes[node].Do(func() { i, err = net.InterfaceByName("eth0") })
	if err != nil {
		l.t.Fatal(err)
	}
	return speakerplan.Link{Index: i.Index, Name: i.Name, MAC: [6]byte(i.HardwareAddr)}
}

// watchARP watches the nodes' ports of the switch, and returns what counts the frames of each node whose sender is the
// address.
func (l *lab) watchARP(address netip.Addr) (senders func() map[string]int) {
	const sourceOffset, typeOffset, senderOffset = 6, 12, 14 + 14 // Ethernet's header, and RFC 826
	var mu sync.Mutex
	count := map[string]int{}
	for name := range l.nodes {
		link := l.linkOf(name)
		var c *packet.Conn
		var err error
		l.swtch.Do(func() {
			var port *net.Interface
			if port, err = net.InterfaceByName("to-" + name); err == nil {
				c, err = packet.Listen(port, packet.Raw, unix.ETH_P_ALL, nil) // all, or the bridge has it first
			}
		})
		if err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { c.Close() })
		go func() {
			frame := make([]byte, 2048)
			for {
				n, _, err := c.ReadFrom(frame)
				if err != nil {
					return
				}
				if n >= senderOffset+4 && [6]byte(frame[sourceOffset:typeOffset]) == link.MAC && binary.BigEndian.Uint16(frame[typeOffset:]) == unix.ETH_P_ARP && netip.AddrFrom4([4]byte(frame[senderOffset:senderOffset+4])) == address {
					mu.Lock()
					count[name]++
					mu.Unlock()
				}
			}
		}()
	}
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		out := map[string]int{}
		for k, v := range count {
			out[k] = v
		}
		return out
	}
}
