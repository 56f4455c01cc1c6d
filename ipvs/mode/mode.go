// Package mode says which ipMode an address of a Service is to have: Proxy, where IPVS serves it, so that kube-proxy leaves
// it alone, or VIP. Make before break: Proxy comes after every node that may announce the address serves it, and VIP goes
// before what serves it does. It is pure.
package mode

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// Annotation on a Service says what is to serve its load balancer's addresses: "ipvs" or "kube-proxy".
const Annotation = "fairlead.io/dataplane"

// The values of Annotation.
const (
	IPVS      = "ipvs"
	KubeProxy = "kube-proxy"
)

// Setting is which Services IPVS serves.
type Setting string

// The settings. Any other value counts as Annotated.
const (
	Annotated Setting = "annotated" // those that ask for it by Annotation
	All       Setting = "all"       // those that do not ask for kube-proxy
	None      Setting = "none"      // none at all, whatever they ask for: what serves them is about to go
)

// Asks says whether a Service with this value of Annotation is one that IPVS serves.
func (s Setting) Asks(annotation string) bool {
	switch s {
	case None:
		return false
	case All:
		return annotation != KubeProxy
	}
	return annotation == IPVS
}

// Settling is how long an address has to be there before IPVS may serve it alone: what programmers reported just before
// may be about another Service that had the address.
const Settling = 2 * time.Second

// Silence is how long no programmer at all has to be silent until kube-proxy serves everything.
const Silence = 10 * time.Second

// View is everything that the mode depends on, beside the Service.
type View struct {
	Now     time.Time
	Policy  *policy.Policy
	Setting Setting
	Heard   bool // a programmer has told a short time ago that it is alive
	Nodes   []Node
}

// Node is one node with a speaker.
type Node struct {
	Name   string
	Labels labels.Set
	// Able: the node is Ready, and neither excluded nor out of service nor without network: it may announce addresses. Which
	// links, peers and endpoints it has is not looked at: rather more nodes are waited for than fewer.
	Able   bool
	Serves addrset.Set // what its programmer reports
	Heard  bool        // its programmer has told a short time ago that it is alive, so that it stands by its report
}

// Service is what the mode depends on of a Service.
type Service struct {
	Labels     labels.Set
	Annotation string       // the value of Annotation
	Addresses  []netip.Addr // that it is to have
	Pool       string       // that they came from; a comma joins two
	Proxied    []netip.Addr // those that have the mode Proxy
	Held       []netip.Addr // those that it has
	AssignedAt time.Time    // since when; zero: for long
}

// Decision is what becomes of a Service.
type Decision struct {
	Proxied         []netip.Addr // those of its addresses that are to have the mode Proxy, in their order; the others have VIP
	verdict.Verdict              // of a Service that asks for IPVS; else the zero value
	Settles         time.Time    // when it is to be decided anew, since an address came a moment ago; zero: none did
}

// Decider decides for Services, one after the other.
type Decider struct {
	view   *View
	scopes map[string][]*Node // who may announce, by the advertisements
}

// NewDecider returns a decider by the view, which is not to be changed while it is in use.
func NewDecider(v *View) *Decider { return &Decider{view: v, scopes: map[string][]*Node{}} }

// Decide decides for one Service.
func (d *Decider) Decide(s *Service) Decision {
	var out Decision
	if s.Annotation != "" && s.Annotation != IPVS && s.Annotation != KubeProxy {
		out.Verdict = say(verdict.InvalidRequest, "annotation %s: %q is neither %q nor %q", Annotation, s.Annotation, IPVS, KubeProxy)
		return out
	}
	if !d.view.Setting.Asks(s.Annotation) || len(s.Addresses) == 0 {
		return out
	}
	if !d.view.Heard {
		out.Verdict = say(verdict.NoProgrammer, "no node's IPVS programmer reports, so kube-proxy serves the Service")
		return out
	}
	out.Verdict = say(verdict.Programmed, "every node that may announce the Service serves it by IPVS")
	for _, a := range s.Addresses {
		nodes := d.announcers(s, a)
		turns := !slices.Contains(s.Proxied, a)
		// A report outlives its programmer: for what is served that is meant, but it is no reason to rely on the node.
		lacks := slices.IndexFunc(nodes, func(n *Node) bool { return !n.Serves.Contains(a) || turns && !n.Heard })
		switch {
		case len(nodes) == 0:
			out.Verdict = say(verdict.NoEligibleNode, "no node may announce %s, so kube-proxy serves it", a)
		case lacks < 0:
			out.Proxied = append(out.Proxied, a)
		case !turns && slices.ContainsFunc(nodes, func(n *Node) bool { return n.Serves.Contains(a) }):
			out.Proxied = append(out.Proxied, a) // those that do not serve it do not announce it
		case nodes[lacks].Serves.Contains(a):
			out.Verdict = say(verdict.NotProgrammed, "node %s, which may announce %s, served it by IPVS, but its programmer is silent, so kube-proxy does", nodes[lacks].Name, a)
		default:
			out.Verdict = say(verdict.NotProgrammed, "node %s, which may announce %s, does not serve it by IPVS yet, so kube-proxy does", nodes[lacks].Name, a)
		}
	}
	return d.settle(s, out)
}

// settle leaves an address that came a moment ago to kube-proxy.
func (d *Decider) settle(s *Service, out Decision) Decision {
	isNew := func(a netip.Addr) bool { return !slices.Contains(s.Proxied, a) }
	turns := slices.IndexFunc(out.Proxied, isNew)
	if turns < 0 {
		return out
	}
	since := s.AssignedAt
	if !slices.Contains(s.Held, out.Proxied[turns]) {
		since = d.view.Now
	}
	settles := since.Add(Settling)
	if !d.view.Now.Before(settles) {
		return out
	}
	out.Settles = settles
	out.Verdict = say(verdict.NotProgrammed, "%s was assigned a moment ago, so kube-proxy serves it", out.Proxied[turns])
	out.Proxied = slices.DeleteFunc(out.Proxied, isNew)
	return out
}

// Announcers returns the names of the nodes that may announce the address of the Service, in the view's order.
func (d *Decider) Announcers(s *Service, a netip.Addr) (names []string) {
	for _, n := range d.announcers(s, a) {
		names = append(names, n.Name)
	}
	return names
}

// announcers returns the nodes that may announce the address of the Service, in the view's order.
func (d *Decider) announcers(s *Service, a netip.Addr) []*Node {
	pools := strings.FieldsFunc(s.Pool, func(r rune) bool { return r == ',' })
	if pool, ok := d.view.Policy.PoolOf(a); ok {
		pools = []string{pool.Name}
	}
	var scopes []*policy.Scope
	var key []byte
	note := func(kind byte, i int, scope *policy.Scope) {
		if slices.ContainsFunc(pools, scope.SelectsPool) && scope.SelectsService(s.Labels) {
			key = binary.AppendUvarint(append(key, kind), uint64(i))
			scopes = append(scopes, scope)
		}
	}
	for i := range d.view.Policy.L2Ads {
		note('l', i, &d.view.Policy.L2Ads[i].Scope)
	}
	for i := range d.view.Policy.BGPAds {
		note('b', i, &d.view.Policy.BGPAds[i].Scope)
	}
	out, ok := d.scopes[string(key)]
	if !ok {
		for i := range d.view.Nodes {
			n := &d.view.Nodes[i]
			if n.Able && slices.ContainsFunc(scopes, func(x *policy.Scope) bool { return x.SelectsNode(n.Labels) }) {
				out = append(out, n)
			}
		}
		d.scopes[string(key)] = out
	}
	return out
}

func say(reason verdict.Reason, format string, args ...any) verdict.Verdict {
	return verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
