package allocator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/policy"
)

// crowd is n Services with two ports each, of which all but the last ones hold an address.
func crowd(p *policy.Policy, n, pending int) []Service {
	services := make([]Service, n)
	for i := range services {
		services[i] = svc(fmt.Sprintf("ns-%02d/service-%05d", i%40, i))
		services[i].UID = fmt.Sprintf("%08x-0000-0000-0000-%012x", i*7919, i)
		services[i].Created = epoch.Add(time.Duration(i*7919%n/4) * time.Second)
		services[i].Ports = []portrange.Range{portrange.Port(corev1.ProtocolTCP, 80), portrange.Port(corev1.ProtocolTCP, 443)}
	}
	for i, d := range decide(p, services[:n-pending]) {
		services[i] = after(services[i], d, i*7919%n)
	}
	return services
}

func BenchmarkDecide(b *testing.B) {
	pools := compile(pool("a", "10.0.0.0/16"))
	for _, c := range []struct {
		name       string
		policy     *policy.Policy
		n, pending int
		change     func(*Service)
	}{
		{"10000 assigned", pools, 10_000, 0, nil},
		{"10000, 1 of them pending", pools, 10_000, 1, nil},
		{"10000, 2000 of them pending", pools, 10_000, 2_000, nil},
		{"10000, 2000 of them pending and the pool full", compile(pool("a", "10.0.0.0-10.0.31.63")), 10_000, 2_000, nil},
		{"10000 with one address of two preferred", pools, 10_000, 0, prefer},
		{"10000 under one sharing key and port", pools, 10_000, 0, key("k")},
		{"10000 under one sharing key and port, 2000 of them pending and the pool full", compile(pool("a", "10.0.0.0-10.0.31.63", crossNamespace)), 10_000, 2_000, key("k")},
	} {
		b.Run(c.name, func(b *testing.B) {
			services := crowd(c.policy, c.n, c.pending)
			if c.change != nil {
				for i := range services {
					c.change(&services[i])
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				decide(c.policy, services)
			}
		})
	}
}

// BenchmarkPoolEdit is what the edit of a pool with 10,000 Services costs: the configuration is compiled anew and all
// Services are decided, with and without addresses that have to move.
func BenchmarkPoolEdit(b *testing.B) {
	const limit = 100 * time.Millisecond
	services := crowd(compile(pool("a", "10.0.0.0/16")), 10_000, 0)
	for name, edited := range map[string]string{
		"it grows":                    "10.0.0.0/15",
		"half of the addresses move":  "10.0.19.136-10.0.255.255",
		"all addresses move":          "10.1.0.0/16",
		"all move, and half find one": "10.1.0.0-10.1.19.135",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				decide(compile(pool("a", edited)), services)
			}
			if each := b.Elapsed() / time.Duration(b.N); each > limit {
				b.Errorf("%s, more than %s", each, limit)
			}
		})
	}
}

// BenchmarkSearch looks for 10,000 addresses in a /8 of which 90 % are in use, as one pass does. What is in use is given
// as a bitmap that is no part of the figures; a pass walks past it at most once.
func BenchmarkSearch(b *testing.B) {
	const size, decisions = 1 << 24, 10_000
	scattered, lowest := new([size]bool), new([size]bool)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range size {
		scattered[i], lowest[i] = r.IntN(10) != 0, i < size/10*9
	}
	for _, c := range []struct {
		name string
		used *[size]bool
		find func(s *search, name string) (netip.Addr, bool)
	}{
		{"LowestFirst, scattered", scattered, func(s *search, _ string) (netip.Addr, bool) { return s.first() }},
		{"LowestFirst, the lowest 90 %", lowest, func(s *search, _ string) (netip.Addr, bool) { return s.first() }},
		{"StableHash, scattered", scattered, (*search).hashed},
		{"StableHash, the lowest 90 %", lowest, (*search).hashed},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := compile(pool("a", "10.0.0.0/8"))
			index := func(a netip.Addr) int { x := a.As4(); return int(x[1])<<16 | int(x[2])<<8 | int(x[3]) }
			used := new([size]bool)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				*used = *c.used
				s := &search{space: p.Pools[0].Space(policy.IPv4), taken: func(a netip.Addr) bool { return used[index(a)] }}
				s.full = func(block netip.Addr) bool {
					n := index(block)
					return !slices.Contains(used[n:n+256], false)
				}
				b.StartTimer()
				for i := range decisions {
					a, ok := c.find(s, "shop/service-"+strconv.Itoa(i))
					if !ok {
						b.Fatal("the pool is full")
					}
					used[index(a)] = true
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*decisions), "ns/decision")
		})
	}
}

// BenchmarkFullPool decides for all Services of a pool that is 90 % full, a tenth of them new: the figure is for one
// Service.
func BenchmarkFullPool(b *testing.B) {
	gateways := make([]string, 1<<16) // 90 % of every /24
	for i := range gateways {
		gateways[i] = fmt.Sprintf("10.%d.%d.26-10.%d.%d.255", i>>8, i&255, i>>8, i&255)
	}
	for _, strategy := range []v1alpha1.Strategy{v1alpha1.LowestFirst, v1alpha1.StableHash, v1alpha1.LeastRecentlyUsed} {
		for _, c := range []struct {
			name, pool string
			n          int
			exclude    []string
			change     func(*Service)
		}{
			{"10.0.0.0/8, 90 % of it excluded, 10000 Services", "10.0.0.0/8", 10_000, gateways, nil},
			{"10.0.0.0/16, 58982 Services", "10.0.0.0/16", 58_982, nil, nil},
			{"fd00::/64, 10000 Services", "fd00::/64", 10_000, nil, v6},
		} {
			b.Run(string(strategy)+", "+c.name, func(b *testing.B) {
				w := &sim{pools: []v1beta1.IPAddressPool{pool("a", c.pool)}, policies: rules(func(a *spec) { a.Strategy = strategy }, exclude(c.exclude...))}
				v := w.view()
				w.services = crowd(v.Policy, c.n, c.n)
				for i := range w.services {
					if c.change != nil {
						c.change(&w.services[i])
					}
				}
				w.pass(nil)
				for i := range c.n / 10 {
					w.services[i*10].Held, w.services[i*10].HeldFrom = nil, ""
				}
				v.Services, v.Claims = w.services, w.view().Claims
				b.ReportAllocs()
				for b.Loop() {
					Decide(v)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.n), "ns/Service")
			})
		}
	}
}

// BenchmarkDecideWithPolicies is one pass over 10,000 Services, 2,000 of them new, with everything that policies ask for.
func BenchmarkDecideWithPolicies(b *testing.B) {
	for _, n := range []int{0, 2_000} {
		b.Run(fmt.Sprintf("10000, %d of them pending", n), func(b *testing.B) {
			w := &sim{
				pools:    []v1beta1.IPAddressPool{pool("a", "10.0.0.0/16")},
				policies: rules(strategy(v1alpha1.LeastRecentlyUsed), retain(time.Hour), reuseDelay(time.Hour), exclude("10.0.0.1", "10.0.1.0/24"), quota(100_000), quota(100_000, "ns-07")),
			}
			for i := range 200 {
				w.reservations = append(w.reservations, reserve(fmt.Sprint("r", i), anyOf("a"), forLabel("app", fmt.Sprint(i))))
			}
			w.services = crowd(w.view().Policy, 10_000, 10_000)
			w.pass(nil)
			for i := range n {
				w.services[i*5].UID += "-again"
				w.services[i*5].Held, w.services[i*5].HeldFrom = nil, ""
			}
			v := w.view()
			b.ReportAllocs()
			for b.Loop() {
				Decide(v)
			}
		})
	}
}

// BenchmarkNodePorts decides for 10,000 Services, of which each has a port already or, once, all are new.
func BenchmarkNodePorts(b *testing.B) {
	p := ranges(b, openPorts("r", "20000-29999 33000-39999"))
	for _, has := range []bool{true, false} {
		services := make([]NodePortService, 10_000)
		for i := range services {
			words := []string{"asks=auto", "single"}
			if has {
				words = append(words, fmt.Sprint("has=http=", 20_000+i))
			}
			services[i] = NodePortServiceOf(portful(fmt.Sprint("s", i), words...), nil)
		}
		b.Run(fmt.Sprint("held=", has), func(b *testing.B) {
			for b.Loop() {
				decisions := DecideNodePorts(NodePortView{Policy: p, Services: services}).Decisions
				if !decisions[len(decisions)-1].Complete {
					b.Fatal(decisions[len(decisions)-1])
				}
			}
		})
	}
}
