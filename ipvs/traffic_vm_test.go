//go:build vm

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/health"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// TestTraffic sends packets through what the kernel was made to hold.
func TestTraffic(t *testing.T) {
	if out, err := exec.Command("modprobe", "ip_vs").CombinedOutput(); err != nil {
		t.Fatalf("modprobe ip_vs: %v\n%s", err, out)
	}
	l := newLab(t)
	run := func(c trafficCase) {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			l.t = t
			c.run(l)
			l.t = t
			l.program()
			l.via("a")
			t.Logf("took %s", time.Since(began).Round(10*time.Millisecond))
		})
	}
	for _, l.marksOnly = range []bool{false, true} {
		for _, c := range servingCases() {
			if l.marksOnly {
				c.name += ", by firewall marks alone"
			}
			run(c)
		}
	}
	l.marksOnly = false
	for _, c := range trafficCases() {
		run(c)
	}
}

type trafficCase struct {
	name string
	run  func(*lab)
}

// both calls f with each family's addresses: of the VIP with the ports 80 and 53, and of node a.
func both(l *lab, f func(web, dns, node string)) {
	f(web4, dns4, l.nodes["a"].v4.String())
	f(web6, dns6, l.nodes["a"].v6.String())
}

// servingCases are those of what is served by servers with addresses or, beside kube-proxy in IPVS mode, by firewall marks alone.
func servingCases() []trafficCase {
	return []trafficCase{
		{"every pod answers by TCP and UDP, IPv4 and IPv6, and sees the node", func(l *lab) {
			l.program(l.service("pod1", "pod2", "pod3"))
			both(l, func(web, dns, node string) {
				for network, to := range map[string]string{"tcp": web, "udp": dns} {
					if got := l.answers(l.client, network, to, 6, node); len(got) != 3 {
						l.t.Errorf("%s: only %v answer", to, got)
					}
				}
			})
		}},
		{"pods and host processes reach the address, and a pod itself", func(l *lab) {
			l.program(l.service("pod1"))
			both(l, func(web, dns, node string) {
				for _, h := range []*host{l.pods["pod1"], l.pods["pod2"], l.pods["pod3"], l.nodes["a"], l.nodes["b"], l.nodes["c"]} {
					l.answers(h, "tcp", web, 1, "")
					l.answers(h, "udp", dns, 1, "")
				}
			})
		}},
		{"a client keeps its pod", func(l *lab) {
			s := l.service("pod1", "pod2", "pod3")
			s.Affinity = time.Hour
			l.program(s)
			both(l, func(web, _, _ string) {
				if got := l.answers(l.client, "tcp", web, 6, ""); len(got) != 1 {
					l.t.Errorf("%s: %v answer", web, got)
				}
			})
		}},
		{"externalTrafficPolicy Local", func(l *lab) {
			s := l.service("pod1", "pod3")
			s.ExternalLocal = true
			l.program(s)
			outside := map[bool]string{false: l.client.v4.String(), true: l.client.v6.String()}
			both(l, func(web, dns, _ string) {
				source := outside[netip.MustParseAddrPort(web).Addr().Is6()]
				for network, to := range map[string]string{"tcp": web, "udp": dns} {
					if got := l.answers(l.client, network, to, 4, source); got["pod1"] != 4 {
						l.t.Errorf("an outside client is answered by %v", got)
					}
					for _, inside := range []*host{l.pods["pod2"], l.nodes["a"], l.nodes["c"]} {
						if got := l.answers(inside, network, to, 4, ""); len(got) != 2 {
							l.t.Errorf("%s is answered by %v", inside.name, got)
						}
					}
				}
			})
			l.via("c") // where none of the pods is
			both(l, func(web, dns, _ string) {
				l.silent(l.client, "tcp", web, "")
				l.silent(l.client, "udp", dns, "")
			})
			s = l.service("pod1", "pod2")
			s.ExternalLocal = true
			l.program(s)
			l.via("b") // pod3 is there, and no endpoint
			both(l, func(web, dns, _ string) {
				l.silent(l.client, "tcp", web, "")
				for network, to := range map[string]string{"tcp": web, "udp": dns} {
					for _, inside := range []*host{l.pods["pod3"], l.nodes["b"]} {
						if got := l.answers(inside, network, to, 4, ""); len(got) != 2 {
							l.t.Errorf("%s, on a node without an endpoint, is answered by %v", inside.name, got)
						}
					}
				}
			})
		}},
		{"loadBalancerSourceRanges", func(l *lab) {
			l.client.Lines(l.t, "ip addr replace 10.0.0.251/24 dev eth0")
			s := l.service("pod1")
			s.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.248/31"), netip.MustParsePrefix("10.0.0.250/32")}
			l.program(s)
			l.answers(l.client, "tcp", web4, 2, "")
			l.answers(l.client, "udp", dns4, 2, "")
			l.silent(l.client, "tcp", web4, "10.0.0.251:0")
			l.silent(l.client, "udp", dns4, "10.0.0.251:0")
			// No range is of IPv6, so that is open, as kube-proxy has it.
			l.answers(l.client, "tcp", web6, 2, "")
		}},
		{"only the ports of Services answer, and pings", func(l *lab) {
			a := l.nodes["a"]
			a.serve(l.t, 2222) // on all addresses of the node
			v := l.view("a", l.service("pod1"))
			l.apply("a", v)
			for _, vip := range []string{vip4, vip6} {
				to := netip.AddrPortFrom(netip.MustParseAddr(vip), 2222).String()
				l.refused(l.client, "tcp", to)
				l.refused(l.client, "udp", to)
				if out, err := l.client.Try("ping", "-c1", "-W1", vip); err == nil {
					l.t.Errorf("%s answers pings:\n%s", vip, out)
				}
			}
			if pod, _, err := l.client.ask("tcp", netip.AddrPortFrom(a.v4, 2222).String()); pod != "a" {
				l.t.Errorf("the node itself: %v", err)
			}
			v.Ping = true
			l.apply("a", v)
			for _, vip := range []string{vip4, vip6} {
				l.client.Command(l.t, "ping", "-c1", "-W2", vip)
			}
		}},
		{"a Service served whole", func(l *lab) {
			s := l.service("pod1", "pod3")
			s.LoadBalancer = nil
			s.ClusterIPs = []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:96::10")}
			s.Ports[0].NodePort = 30080
			l.program(s)
			for i, ip := range s.ClusterIPs {
				to := netip.AddrPortFrom(ip, 80).String()
				source := []string{l.pods["pod2"].v4.String(), l.pods["pod2"].v6.String()}[i]
				if got := l.answers(l.pods["pod2"], "tcp", to, 4, source); len(got) != 2 { // as a pod sees pods
					l.t.Errorf("%s is answered by %v", to, got)
				}
				l.answers(l.pods["pod1"], "tcp", to, 4, "") // itself too
				l.answers(l.nodes["c"], "tcp", to, 2, "")
			}
			l.answers(l.client, "tcp", "10.0.0.1:30080", 2, "10.0.0.1")
			l.answers(l.client, "tcp", "[fd00:a::3]:30080", 2, "fd00:a::3")
			s.InternalLocal = true
			l.program(s)
			for _, ip := range s.ClusterIPs {
				to := netip.AddrPortFrom(ip, 80).String()
				for _, inside := range []*host{l.pods["pod2"], l.nodes["a"]} {
					if got := l.answers(inside, "tcp", to, 4, ""); got["pod1"] != 4 {
						l.t.Errorf("internalTrafficPolicy Local: %s asks %s and is answered by %v", inside.name, to, got)
					}
				}
				if f, err := l.nodes["c"].open("tcp", to, "", unanswered); err == nil {
					l.t.Errorf("internalTrafficPolicy Local: a node without an endpoint is answered by %s", f.pod)
				}
			}
			l.answers(l.client, "tcp", "10.0.0.3:30080", 2, "10.0.0.3") // which that does not bind
		}},
		{"a server that goes keeps its TCP connections and loses its UDP flows", func(l *lab) {
			l.program(l.service("pod1", "pod2"))
			var flows []*flow
			for range 8 {
				f, err := l.client.open("tcp", web4, "", patience)
				if err != nil {
					l.t.Fatal(err)
				}
				flows = append(flows, f)
			}
			udp := map[string]*flow{}
			for i := 0; len(udp) < 2 && i < 8; i++ {
				f, err := l.client.open("udp", dns4, "", patience)
				if err != nil {
					l.t.Fatal(err)
				}
				udp[f.pod] = f
			}
			l.program(l.service("pod2"))
			for range 3 {
				for _, f := range flows {
					pod := f.pod
					if err := f.send(patience); err != nil || f.pod != pod {
						l.t.Fatalf("a connection to %s: %v, now %s", pod, err, f.pod)
					}
				}
			}
			if got := l.answers(l.client, "tcp", web4, 4, ""); got["pod2"] != 4 {
				l.t.Errorf("new connections are answered by %v", got)
			}
			f := udp["pod1"]
			began := time.Now()
			for f.pod == "pod1" && time.Since(began) < patience {
				if err := f.send(unanswered); err == nil && f.pod == "pod1" {
					l.t.Fatal("a UDP flow still reaches the server that is gone")
				}
			}
			if f.pod != "pod2" {
				l.t.Error("a UDP flow of a server that is gone finds no other")
			}
			for _, f := range flows {
				f.Close()
			}
		}},
		{"one node answers ARP, and no other is the sender of a frame with the address", oneAnswer},
	}
}

// trafficCases are the others.
func trafficCases() []trafficCase {
	return []trafficCase{
		{"an address that is nearer to the pods than the node's is not taken for masquerading", func(l *lab) {
			s := l.service("pod1", "pod3")
			s.LoadBalancer = []netip.Addr{netip.MustParseAddr("fd00:244::ff"), netip.MustParseAddr("10.244.0.255")}
			l.program(s)
			l.client.Lines(l.t, "ip -6 route replace fd00:244::ff via fd00:a::1\nip route replace 10.244.0.255 via 10.0.0.1")
			l.answers(l.client, "tcp", "[fd00:244::ff]:80", 2, "fd00:a::1")
			l.answers(l.client, "tcp", "10.244.0.255:80", 2, "10.0.0.1")
		}},
		{"port ranges: first, middle and last port, none outside, and one pod for a client", func(l *lab) {
			s := l.service("pod1", "pod2", "pod3")
			s.Ranges, s.Affinity = "10000-20000/UDP,10000-20000/TCP", time.Hour
			l.program(s)
			both(l, func(web, _, node string) {
				vip := netip.MustParseAddrPort(web).Addr()
				pods := map[string]bool{}
				for _, port := range []uint16{10000, 15000, 20000} {
					for _, network := range []string{"tcp", "udp"} {
						for pod := range l.answers(l.client, network, netip.AddrPortFrom(vip, port).String(), 2, node) {
							pods[pod] = true
						}
					}
				}
				if len(pods) != 1 {
					l.t.Errorf("a client with affinity is answered by %v", pods)
				}
				l.refused(l.client, "tcp", netip.AddrPortFrom(vip, 21000).String())
				l.refused(l.client, "udp", netip.AddrPortFrom(vip, 21000).String())
			})
		}},
		{"a client keeps its pod at a node port of a range", func(l *lab) {
			v := l.view("a", l.service("pod1", "pod2", "pod3"))
			v.Services[0].Affinity = time.Hour
			v.Services[0].NodePorts = []plan.NodePort{{Name: "web", Port: 33333, Addresses: v.Addresses}, {Name: "dns", Port: 33333, Addresses: v.Addresses}}
			l.apply("a", v)
			for _, a := range v.Addresses {
				to := netip.AddrPortFrom(a, 33333).String()
				for _, network := range []string{"tcp", "udp"} {
					if got := l.answers(l.client, network, to, 6, a.String()); len(got) != 1 {
						l.t.Errorf("%s by %s: %v answer", to, network, got)
					}
				}
			}
		}},
		{"node ports of a range, and the node's own connections from such a port", func(l *lab) {
			s := l.service("pod1", "pod3")
			for name := range l.nodes {
				v := l.view(name, s)
				v.Services[0].NodePorts = []plan.NodePort{{Name: "web", Port: 33333, Addresses: v.Addresses}, {Name: "dns", Port: 33333, Addresses: v.Addresses}}
				l.apply(name, v)
			}
			for _, n := range l.nodes {
				for _, a := range []netip.Addr{n.v4, n.v6} {
					to := netip.AddrPortFrom(a, 33333).String()
					for _, network := range []string{"tcp", "udp"} {
						if got := l.answers(l.client, network, to, 4, a.String()); len(got) != 2 {
							l.t.Errorf("%s is answered by %v", to, got)
						}
						l.answers(n, network, to, 1, "")
						l.answers(l.pods["pod1"], network, to, 1, "")
					}
				}
			}
			l.client.serve(l.t, 9999)
			a := l.nodes["a"]
			for _, network := range []string{"tcp", "udp"} {
				f, err := a.open(network, netip.AddrPortFrom(l.client.v4, 9999).String(), netip.AddrPortFrom(a.v4, 33333).String(), patience)
				if err != nil {
					l.t.Fatalf("the node's own connection from the port by %s: %v", network, err)
				}
				if f.pod != "client" {
					l.t.Errorf("it is answered by %s", f.pod)
				}
				f.Close()
			}
		}},
		{"ranges of node ports: first, middle and last port, none outside nor another process's, and one pod for a client", func(l *lab) {
			s := l.service("pod1", "pod2", "pod3")
			s.Ranges, s.Affinity = "10000-20000/UDP", time.Hour
			for name := range l.nodes {
				v := l.view(name, s)
				for _, a := range v.Addresses {
					for _, r := range []portrange.Range{{Protocol: corev1.ProtocolTCP, First: 10000, Last: 20000}, {Protocol: corev1.ProtocolUDP, First: 10000, Last: 20000}} {
						v.Services[0].NodeRanges = append(v.Services[0].NodeRanges, plan.Ports{Address: a, Range: r})
					}
				}
				if name == "b" {
					v.Taken = []plan.Ports{{Address: netip.IPv6Unspecified(), Range: portrange.Port(corev1.ProtocolTCP, 15000)}}
				}
				l.apply(name, v)
			}
			for name, n := range l.nodes {
				pods := map[string]bool{}
				for _, a := range []netip.Addr{n.v4, n.v6} {
					for _, port := range []uint16{10000, 15000, 20000} {
						for _, network := range []string{"tcp", "udp"} {
							to := netip.AddrPortFrom(a, port).String()
							if name == "b" && port == 15000 && network == "tcp" {
								l.refused(l.client, network, to)
								continue
							}
							for pod := range l.answers(l.client, network, to, 2, a.String()) {
								pods[fmt.Sprint(a.Is6(), pod)] = true
							}
							l.answers(l.pods["pod2"], network, to, 1, "")
						}
					}
					l.refused(l.client, "tcp", netip.AddrPortFrom(a, 21000).String())
					// The kernel refuses by ICMP only now and then, so that it is silent is as good.
					if f, err := l.client.open("udp", netip.AddrPortFrom(a, 21000).String(), "", unanswered); err == nil {
						l.t.Errorf("a port outside of the range is answered by %s", f.pod)
					}
				}
				if len(pods) != 2 { // one in each family
					l.t.Errorf("at %s a client with affinity is answered by %v", name, pods)
				}
			}
		}},
		{"weights, and endpoints that are being deleted while there is no other", func(l *lab) {
			s := l.service("pod1", "pod3")
			s.Scheduler, s.Weights = "wrr", "b=2"
			l.program(s)
			both(l, func(web, _, _ string) {
				if got := l.answers(l.client, "tcp", web, 6, ""); got["pod1"] != 2 || got["pod3"] != 4 {
					l.t.Errorf("with the weights 1 and 2 %v answer", got)
				}
			})
			for i := range s.Slices[0].Endpoints {
				e := &s.Slices[0].Endpoints[i]
				e.Ready, e.Terminating, e.Serving = false, true, e.Node == "b"
			}
			l.program(s)
			both(l, func(web, dns, _ string) {
				for network, to := range map[string]string{"tcp": web, "udp": dns} {
					if got := l.answers(l.client, network, to, 3, ""); got["pod3"] != 3 {
						l.t.Errorf("of two that are being deleted, one of which serves, %v answer", got)
					}
				}
			})
		}},
		{"externalIPs, with externalTrafficPolicy Cluster and Local", func(l *lab) {
			s := l.service("pod1", "pod3")
			s.LoadBalancer, s.ExternalIPs = nil, []netip.Addr{netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8::77")}
			for _, local := range []bool{false, true} {
				s.ExternalLocal = local
				l.program(s)
				for i, ip := range s.ExternalIPs {
					web, dns := netip.AddrPortFrom(ip, 80).String(), netip.AddrPortFrom(ip, 53).String()
					source, pods := []netip.Addr{l.nodes["a"].v4, l.nodes["a"].v6}[i].String(), 2
					if local {
						source, pods = []netip.Addr{l.client.v4, l.client.v6}[i].String(), 1
					}
					for network, to := range map[string]string{"tcp": web, "udp": dns} {
						if got := l.answers(l.client, network, to, 4, source); len(got) != pods || got["pod1"] == 0 {
							l.t.Errorf("Local %v: %s is answered by %v", local, to, got)
						}
						for _, inside := range []*host{l.pods["pod2"], l.nodes["a"], l.nodes["c"]} {
							if got := l.answers(inside, network, to, 4, ""); len(got) != 2 {
								l.t.Errorf("Local %v: %s asks %s and is answered by %v", local, inside.name, to, got)
							}
						}
					}
					l.refused(l.client, "tcp", netip.AddrPortFrom(ip, 81).String())
				}
			}
		}},
		{"endpoints that are hinted for the node or its zone answer", func(l *lab) {
			s := l.service("pod1", "pod2", "pod3")
			hinted := func(nodes bool) {
				for i := range s.Slices[0].Endpoints {
					e := &s.Slices[0].Endpoints[i]
					e.Zones, e.Nodes = []string{"zone-of-" + e.Node}, nil
					if nodes {
						e.Zones, e.Nodes = []string{"zone-of-a", "zone-of-b"}, []string{e.Node}
					}
				}
			}
			for _, nodes := range []bool{false, true} {
				hinted(nodes)
				for name := range l.nodes {
					v := l.view(name, s)
					v.Zone = "zone-of-" + name
					l.apply(name, v)
				}
				for via, want := range map[string]int{"a": 2, "b": 1, "c": 3} { // none is hinted for c
					l.via(via)
					both(l, func(web, _, _ string) {
						if got := l.answers(l.client, "tcp", web, 6, ""); len(got) != want || via == "b" && got["pod3"] == 0 {
							l.t.Errorf("by nodes %v, at %s: %v answer", nodes, via, got)
						}
					})
				}
			}
		}},
		{"load balancers that ask are told which nodes have endpoints", func(l *lab) {
			s := l.service("pod1", "pod3")
			s.ExternalLocal, s.HealthPort = true, 32001
			l.program(s)
			for name, want := range map[string]string{"a": `"localEndpoints":1`, "b": `"localEndpoints":1`, "c": "503 Service Unavailable"} {
				n, v := l.nodes[name], l.view(name, s)
				var checks health.Checks
				var err error
				n.Do(func() { err = checks.Apply(plan.Build(&v).Checks) })
				if err != nil {
					l.t.Fatal(err)
				}
				for _, a := range []string{n.v4.String(), "[" + n.v6.String() + "]"} {
					if got, err := l.client.Try("wget", "-q", "-O", "-", "http://"+a+":32001/"); !strings.Contains(got, want) {
						l.t.Errorf("node %s answers %s (%v), want %s", name, got, err, want)
					}
				}
				if err := checks.Apply(nil); err != nil {
					l.t.Error(err)
				}
			}
			ctx, stop := context.WithCancel(l.t.Context())
			done := make(chan error)
			a := l.nodes["a"]
			proxy := health.Proxy{Log: a.kernel.Log, Address: health.ProxyAddress, State: func() (bool, time.Time, bool) { return true, time.Now(), true }}
			go a.Do(func() { done <- proxy.Run(ctx) })
			netnstest.Eventually(l.t, patience, func() error {
				_, errs := l.client.Try("wget", "-q", "-O", "-", "http://"+a.v4.String()+":10256/healthz")
				_, errs6 := l.client.Try("wget", "-q", "-O", "-", "http://["+a.v6.String()+"]:10256/healthz")
				return errors.Join(errs, errs6)
			})
			stop()
			if err := <-done; err != nil {
				l.t.Error(err)
			}
		}},
		{"ipvsadm shows what users of IPVS know", func(l *lab) {
			s := l.service("pod1", "pod3")
			s.ClusterIPs, s.Ports[0].NodePort = []netip.Addr{netip.MustParseAddr("10.96.0.10")}, 30080
			s.Scheduler, s.Affinity, s.Weights = "mh,port", 3*time.Hour, "b=2"
			l.apply("a", l.view("a", s))
			const want = `
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:30080 mh (mh-fallback,mh-port) persistent 10800
  -> 10.244.0.1:8080              Masq    1      0          0
  -> 10.244.0.3:8080              Masq    2      0          0
TCP  10.96.0.10:80 mh (mh-fallback,mh-port) persistent 10800
  -> 10.244.0.1:8080              Masq    1      0          0
  -> 10.244.0.3:8080              Masq    2      0          0
TCP  192.0.2.1:80 mh (mh-fallback,mh-port) persistent 10800
  -> 10.244.0.1:8080              Masq    1      0          0
  -> 10.244.0.3:8080              Masq    2      0          0
`
			got := l.nodes["a"].Command(l.t, "sh", "-c", "ipvsadm -Ln -t 10.0.0.1:30080; ipvsadm -Ln -t 10.96.0.10:80 | tail -n3; ipvsadm -Ln -t 192.0.2.1:80 | tail -n3")
			got = regexp.MustCompile(` +\n`).ReplaceAllString(got, "\n")
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				l.t.Errorf("ipvsadm -Ln shows\n%swant%s", got, want)
			}
			if got := strings.Count(l.nodes["a"].Command(l.t, "ipvsadm", "-Ln"), "persistent 10800"); got != 8 {
				l.t.Errorf("there are %d virtual servers, want 3 of TCP and 2 of UDP for IPv4, and 3 for IPv6", got)
			}
		}},
		{"a pod that is being deleted keeps its connections while it is there, and then the client is told", func(l *lab) {
			v := l.view("a", l.service("pod1"))
			v.Drain = time.Second
			l.apply("a", v)
			f, err := l.client.open("tcp", web4, "", patience)
			if err != nil {
				l.t.Fatal(err)
			}
			defer f.Close()
			v = l.view("a", l.service("pod1", "pod2"))
			v.Drain = time.Second
			for i := range v.Services[0].Slices[0].Endpoints[:2] { // of both families
				e := &v.Services[0].Slices[0].Endpoints[i]
				e.Ready, e.Serving, e.Terminating = false, true, true
			}
			l.apply("a", v)
			time.Sleep(v.Drain + 200*time.Millisecond)
			a := l.nodes["a"]
			a.Do(func() { err = a.kernel.Check(l.t.Context()) })
			if err := errors.Join(err, f.send(patience)); err != nil || f.pod != "pod1" {
				l.t.Fatalf("its connection: %v, now %s", err, f.pod)
			}
			if got := l.answers(l.client, "tcp", web4, 3, ""); got["pod2"] != 3 {
				l.t.Errorf("new connections are answered by %v", got)
			}
			v = l.view("a", l.service("pod2"))
			v.Drain = time.Minute
			l.apply("a", v)
			if err := f.send(patience); !errors.Is(err, syscall.ECONNRESET) {
				l.t.Errorf("when the pod is gone, the client gets %v, want a reset", err)
			}
		}},
		{"beside kube-proxy in IPVS mode, connections go on when an address yields to it, and what begins is its", yielding},
		{"pods are replaced one by one under load, and no connection fails", rolling},
		{"what serves Services instead of kube-proxy is seen", func(l *lab) {
			a := l.nodes["a"]
			for device, want := range map[string]plan.Proxy{"cilium_host": plan.ProxyCilium, "bpfin.cali": plan.ProxyCalico} {
				a.Command(l.t, "ip", "link", "add", device, "type", "dummy")
				k := &kernel.Node{Log: a.kernel.Log, State: l.t.TempDir()}
				var got plan.Local
				var err error
				a.Do(func() { got, err = k.Look(l.t.Context()) })
				if err := errors.Join(err, k.Close()); err != nil || got.Proxy != want {
					l.t.Errorf("with the device %s it is %q (%v), want %s", device, got.Proxy, err, want)
				}
				a.Command(l.t, "ip", "link", "del", device)
			}
		}},
		{"SCTP, on a port and in a range", sctp},
		{"node ports on which a process listens are served by the other nodes, and here when it stops", listener},
		{"what others take away is repaired within 2 s", repair},
		{"a restart of the programmer disturbs nothing", restart},
		{"cleanup leaves the node as it was found", cleanup},
	}
}
