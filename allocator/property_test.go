package allocator

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/policy"
)

// The random worlds are small, so that pools overlap, run full and vanish, and Services collide.
var (
	someAddress = rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "IPv4") {
			return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 9).Draw(t, "host"))})
		}
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(rapid.IntRange(0, 6).Draw(t, "host"))})
	})
	somePool = rapid.SampledFrom([]string{"a", "b", "c"})
	rarely   = rapid.Map(rapid.IntRange(0, 7), func(n int) bool { return n == 7 })
)

func drawRange(t *rapid.T) string {
	from := someAddress.Draw(t, "from")
	to := from
	for range rapid.IntRange(0, 4).Draw(t, "size") {
		to = to.Next()
	}
	return from.String() + "-" + to.String()
}

func drawPolicy(t *rapid.T, always ...func(*v1beta1.IPAddressPool)) *policy.Policy {
	var pools []v1beta1.IPAddressPool
	for _, name := range rapid.SliceOfNDistinct(somePool, 0, 3, rapid.ID).Draw(t, "pools") {
		p := pool(name, strings.Join(rapid.SliceOfN(rapid.Custom(drawRange), 1, 3).Draw(t, "ranges"), ","))
		p.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "age")) * time.Second))
		for _, option := range []func(*v1beta1.IPAddressPool){onRequest, avoidBuggy, crossNamespace, crossNamespace, broken, tenant(1, "x"), tenant(0, "y")} {
			if rarely.Draw(t, "option") {
				option(&p)
			}
		}
		for _, option := range always {
			option(&p)
		}
		pools = append(pools, p)
	}
	return compile(pools...)
}

// drawService draws a Service of that name; what it holds is anything at all, as after a restored backup.
func drawService(t *rapid.T, name string) Service {
	s := svc(name, drawRequest(t))
	s.Created = epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "created")) * time.Second)
	s.SharingKey = rapid.SampledFrom([]string{"", "k", "k"}).Draw(t, "key")
	s.Ports = nil
	for _, number := range rapid.SliceOfNDistinct(rapid.Uint16Range(80, 83), 1, 2, rapid.ID).Draw(t, "ports") {
		s.Ports = append(s.Ports, portrange.Port(corev1.ProtocolTCP, number))
	}
	if rapid.IntRange(0, 4).Draw(t, "has a range") == 0 {
		first := rapid.Uint16Range(81, 84).Draw(t, "first port")
		s.Ports = append(s.Ports, portrange.Range{Protocol: corev1.ProtocolTCP, First: first, Last: rapid.Uint16Range(first, 85).Draw(t, "last port")})
	}
	s.Local, s.Backends = rapid.IntRange(0, 2).Draw(t, "local") == 2, rapid.SampledFrom([]string{"app=a", "app=b"}).Draw(t, "backends")
	if rapid.Bool().Draw(t, "holds") {
		s.Held = rapid.SliceOfN(someAddress, 1, 2).Draw(t, "held")
		s.HeldFrom = rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "from")
		s.AssignedAt = epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "at")) * time.Second)
	}
	return s
}

// drawRequest draws what a user asks for.
func drawRequest(t *rapid.T) func(*Service) {
	families := rapid.SampledFrom([]func(*Service){v6, prefer, prefer6, require, func(*Service) {}}).Draw(t, "families")
	return func(s *Service) {
		families(s)
		s.Deleting = rarely.Draw(t, "deleting")
		if rarely.Draw(t, "asks for a pool") {
			s.Pool = somePool.Draw(t, "pool")
		}
		if rarely.Draw(t, "asks for addresses") {
			for _, f := range s.Families {
				ask := rapid.Custom(func(t *rapid.T) netip.Addr { return someAddress.Draw(t, "asked") })
				s.Addresses = append(s.Addresses, ask.Filter(func(a netip.Addr) bool { return policy.FamilyOf(a) == f }).Draw(t, "address"))
			}
			if !s.RequireDual {
				s.Addresses = s.Addresses[:1]
			}
		}
		if rarely.Draw(t, "invalid") {
			s.Invalid = "nonsense"
		}
	}
}

func drawServices(t *rapid.T) (services []Service) {
	for i := range rapid.IntRange(1, 8).Draw(t, "services") {
		services = append(services, drawService(t, fmt.Sprintf("%s/s%d", rapid.SampledFrom([]string{"x", "x", "y"}).Draw(t, "namespace"), i)))
	}
	return services
}

func TestDecisionsWithstandTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, services := drawPolicy(t), drawServices(t)
		if err := judge(viewOf(p, services)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDecisionsDoNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, services := drawPolicy(t), drawServices(t)
		want := byKey(services, decide(p, services))
		shuffled := rapid.Permutation(services).Draw(t, "shuffled")
		if got := byKey(shuffled, decide(p, shuffled)); !slices.Equal(got, want) {
			t.Fatalf("shuffled, it says\n%v, before\n%v", got, want)
		}
	})
}

// byKey renders decisions in full.
func byKey(services []Service, decisions []Decision) (texts []string) {
	for i, d := range decisions {
		texts = append(texts, fmt.Sprintf("%s: %s %v %s\n", services[i].Key, has(d), d.Complete, d.Verdict))
	}
	slices.Sort(texts)
	return texts
}

// settle decides and writes until nothing changes any more.
func settle(t *rapid.T, p *policy.Policy, services []Service) []Service {
	for pass := range 2*len(services) + 4 {
		decisions := decide(p, services)
		var next []Service
		changed := false
		for i, d := range decisions {
			changed = changed || !equal(services[i].Held, d.Addresses) || services[i].HeldFrom != d.Pool
			next = append(next, after(services[i], d, 10+pass))
		}
		if !changed {
			return next
		}
		services = next
	}
	t.Fatalf("no end of changes: %v", byKey(services, decide(p, services)))
	return nil
}

func TestDecisionsSettleAndAreRepeatedWordByWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, services := drawPolicy(t), drawServices(t)
		services = settle(t, p, services)
		want := byKey(services, decide(p, services))
		if got := byKey(services, decide(p, settle(t, p, services))); !slices.Equal(got, want) {
			t.Fatalf("the next pass says\n%v, before\n%v", got, want)
		}
	})
}

func TestAnUnrelatedChangeMovesNoAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		services := settle(t, p, drawServices(t))
		before := decide(p, services)
		k := rapid.IntRange(0, len(services)-1).Draw(t, "changed")
		changed := slices.Clone(services)
		switch rapid.SampledFrom([]string{"change", "delete", "add"}).Draw(t, "what") {
		case "change":
			s := drawService(t, services[k].Key.String())
			s.Held, s.HeldFrom, s.AssignedAt = services[k].Held, services[k].HeldFrom, services[k].AssignedAt
			changed[k] = s
		case "delete":
			changed[k].Deleting = true
		case "add":
			s := drawService(t, "x/new")
			s.Held = nil
			changed, k = append(changed, s), len(services)
		}
		now := decide(p, changed)
		for i, d := range before {
			shares := k < len(services) && slices.ContainsFunc(d.Addresses, func(a netip.Addr) bool { return slices.Contains(services[k].Held, a) })
			complete := d.Complete && len(d.Addresses) == len(services[i].Families)
			if i != k && !shares && complete && has(now[i]) != has(d) {
				t.Fatalf("%s had %s and has %s", services[i].Key, has(d), has(now[i]))
			}
		}
	})
}

// TestStatusesNeverConflict lets Services come, go and change what they ask for, and pools change, while some writes
// fail. The statuses, which are the only record, never show one address for two that may not share it.
func TestStatusesNeverConflict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, crossNamespace) // to forbid later what is shared makes a conflict
		var services []Service
		pass := 0
		t.Repeat(map[string]func(*rapid.T){
			"a Service comes": func(t *rapid.T) {
				s := drawService(t, fmt.Sprintf("%s/s%d", rapid.SampledFrom([]string{"x", "y"}).Draw(t, "namespace"), pass))
				s.Held = nil
				services = append(services, s)
			},
			"a Service goes": func(t *rapid.T) {
				if len(services) > 0 {
					k := rapid.IntRange(0, len(services)-1).Draw(t, "which")
					services = slices.Delete(services, k, k+1)
				}
			},
			"a Service asks for something else": func(t *rapid.T) {
				if len(services) > 0 {
					s := &services[rapid.IntRange(0, len(services)-1).Draw(t, "which")]
					s.Pool, s.Addresses, s.Invalid, s.RequireDual = "", nil, "", false
					drawRequest(t)(s)
				}
			},
			"the pools change": func(t *rapid.T) { p = drawPolicy(t, crossNamespace) },
			"": func(t *rapid.T) {
				pass++
				v := viewOf(p, services)
				outcome := Decide(v)
				decisions, m := outcome.Decisions, newModel(v, outcome)
				if err := m.judge(); err != nil {
					t.Fatal(err)
				}
				for i, d := range decisions {
					if !rarely.Draw(t, "write fails") {
						services[i] = after(services[i], d, pass)
					}
				}
				for i := range services {
					for _, a := range services[i].Held {
						if !m.open(i, a, func(j int) []netip.Addr { return services[j].Held }) {
							t.Fatalf("%s and another one hold %s", services[i].Key, a)
						}
					}
				}
			},
		})
	})
}
