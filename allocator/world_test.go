package allocator

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/policy"
)

// A pool of a test is the object that a user writes; options change it.
func pool(name, addresses string, options ...func(*v1beta1.IPAddressPool)) v1beta1.IPAddressPool {
	p := v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)}}
	p.Spec.Addresses = strings.Split(addresses, ",")
	for _, o := range options {
		o(&p)
	}
	return p
}

func onRequest(p *v1beta1.IPAddressPool)  { off := false; p.Spec.AutoAssign = &off }
func avoidBuggy(p *v1beta1.IPAddressPool) { p.Spec.AvoidBuggyIPs = true }
func crossNamespace(p *v1beta1.IPAddressPool) {
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, policy.AnnotationCrossNamespaceSharing, "true")
}
func broken(p *v1beta1.IPAddressPool) { p.Spec.Addresses = append(p.Spec.Addresses, "nonsense") }

func tenant(priority int, namespaces ...string) func(*v1beta1.IPAddressPool) {
	return func(p *v1beta1.IPAddressPool) {
		p.Spec.AllocateTo = &v1beta1.ServiceAllocation{Priority: priority, Namespaces: namespaces}
	}
}

func compile(pools ...v1beta1.IPAddressPool) *policy.Policy {
	p, _ := policy.Compile(policy.Objects{Pools: pools}, nil)
	return p
}

// epoch is when the tests begin; times in them are seconds after it.
var epoch = time.Unix(1_700_000_000, 0).UTC()

// now is when the tests decide, long after epoch.
var now = epoch.Add(time.Hour)

// grace is for how long they keep orphans.
const grace = 5 * time.Minute

// viewOf is a view of Services alone.
func viewOf(p *policy.Policy, services []Service) View {
	return View{Policy: p, Services: services, Now: now, OrphanGrace: grace}
}

func decide(p *policy.Policy, services []Service) []Decision {
	return Decide(viewOf(p, services)).Decisions
}

// judge decides and lets the model judge it.
func judge(v View) error { return newModel(v, Decide(v)).judge() }

// svc is an IPv4 Service with port TCP/80 in namespace "x", or where the name says; options change it.
func svc(name string, options ...func(*Service)) Service {
	namespace, short, ok := strings.Cut(name, "/")
	if !ok {
		namespace, short = "x", name
	}
	s := Service{
		Key:      Key{namespace, short},
		UID:      "uid-" + name,
		Families: []policy.Family{policy.IPv4},
		Ports:    []portrange.Range{portrange.Port(corev1.ProtocolTCP, 80)},
	}
	for _, o := range options {
		o(&s)
	}
	return s
}

// holds says what the status shows and when it was assigned; 0 is unknown.
func holds(addresses string, at int) func(*Service) {
	return func(s *Service) {
		s.Held = parse(addresses)
		if at > 0 {
			s.AssignedAt = epoch.Add(time.Duration(at) * time.Second)
		}
	}
}

func parse(addresses string) (out []netip.Addr) {
	for a := range strings.FieldsSeq(addresses) {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func from(pool string) func(*Service) { return func(s *Service) { s.HeldFrom = pool } }
func created(at int) func(*Service) {
	return func(s *Service) { s.Created = epoch.Add(time.Duration(at) * time.Second) }
}
func ask(addresses string) func(*Service) { return func(s *Service) { s.Addresses = parse(addresses) } }
func askPool(name string) func(*Service)  { return func(s *Service) { s.Pool = name } }
func key(sharing string) func(*Service)   { return func(s *Service) { s.SharingKey = sharing } }
func local(selector string) func(*Service) {
	return func(s *Service) { s.Local, s.Backends = true, selector }
}
func invalid(why string) func(*Service)          { return func(s *Service) { s.Invalid = why } }
func families(f ...policy.Family) func(*Service) { return func(s *Service) { s.Families = f } }

func deleting(s *Service) { s.Deleting = true }
func prefer(s *Service)   { s.Families = []policy.Family{policy.IPv4, policy.IPv6} }
func prefer6(s *Service)  { s.Families = []policy.Family{policy.IPv6, policy.IPv4} }
func require(s *Service)  { prefer(s); s.RequireDual = true }
func v6(s *Service)       { s.Families = []policy.Family{policy.IPv6} }

// tcp and udp set the Service's one port.
func tcp(port uint16) func(*Service) {
	return func(s *Service) { s.Ports = []portrange.Range{portrange.Port(corev1.ProtocolTCP, port)} }
}
func udp(port uint16) func(*Service) {
	return func(s *Service) { s.Ports = []portrange.Range{portrange.Port(corev1.ProtocolUDP, port)} }
}

// alsoPorts gives the Service ranges of ports beside those that it has.
func alsoPorts(text string) func(*Service) {
	return func(s *Service) {
		ranges, err := portrange.Parse(text)
		if err != nil {
			panic(err)
		}
		s.Ports = append(s.Ports, ranges...)
	}
}

// rule is one line of the specification: given these pools and Services, each Service is to have this.
type rule struct {
	name  string
	pools []v1beta1.IPAddressPool
	given []expect
}

// expect is a Service, the addresses and pool that it is to have ("10.0.0.1 @a", or "" for none) and, where it
// matters, the verdict in full.
type expect struct {
	Service
	has  string
	says string
}

func check(t *testing.T, rules []rule) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			var services []Service
			for _, e := range r.given {
				services = append(services, e.Service)
			}
			for i, d := range decide(compile(r.pools...), services) {
				if e := r.given[i]; has(d) != e.has {
					t.Errorf("%s has %q, want %q; it says: %s", e.Key, has(d), e.has, d.Verdict)
				} else if e.says != "" && d.String() != e.says {
					t.Errorf("%s says\n%q, want\n%q", e.Key, d.Verdict, e.says)
				}
			}
		})
	}
}

func has(d Decision) string {
	if len(d.Addresses) == 0 {
		return ""
	}
	var out string
	for _, a := range d.Addresses {
		out += a.String() + " "
	}
	return out + "@" + d.Pool
}

// after is the Service once the decision is written to its status.
func after(s Service, d Decision, at int) Service {
	if !equal(s.Held, d.Addresses) {
		s.AssignedAt = epoch.Add(time.Duration(at) * time.Second)
	}
	s.Held, s.HeldFrom, s.OrphanedSince = d.Addresses, d.Pool, d.OrphanedSince
	return s
}

func equal(a, b []netip.Addr) bool { return has(Decision{Addresses: a}) == has(Decision{Addresses: b}) }
