// Package explain says why: for a Service, an address, a pool, a node or a peer it puts the verdicts of the allocator and
// of the plan, and what the speakers say of themselves, into one chain of steps and one sentence. It decides nothing
// itself. It is pure; the command line and the status page both render what it returns.
package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Kind names what may be missing from a View.
type Kind string

// The kinds, as people write them.
const (
	Services       Kind = "Services"
	Namespaces     Kind = "Namespaces"
	EndpointSlices Kind = "EndpointSlices"
	Nodes          Kind = "Nodes"
	Configuration  Kind = "the configuration"
	Claims         Kind = "AddressClaims"
	NodePortRanges Kind = "NodePortRanges"
	Programmers    Kind = "ProgrammerStates"
	Speakers       Kind = "SpeakerStates"
	Announcements  Kind = "ServiceL2Statuses"
)

// Gap is something that could not be read, so that some steps cannot be answered. It is comparable.
type Gap struct {
	Kind   Kind
	What   string // the resource, as in "nodes"
	Absent bool   // the cluster does not know it; otherwise it may not be listed
}

// gaps says what could not be read and what to do, in one sentence for each cause.
func (v *View) gaps() (out []string) {
	var forbidden, absent []string
	for _, g := range v.Gaps {
		if g.Absent {
			absent = append(absent, g.What)
		} else {
			forbidden = append(forbidden, g.What)
		}
	}
	if len(absent) > 0 {
		out = append(out, fmt.Sprintf("the cluster does not know %s: apply the CustomResourceDefinitions of this version (config/crd)", listed(absent, same)))
	}
	if len(forbidden) > 0 {
		out = append(out, fmt.Sprintf("you may not read %s: ask for the right, or for the ClusterRole fairlead-viewer", listed(forbidden, same)))
	}
	return out
}

// View is everything that explanations go by, as of one time.
type View struct {
	Namespace string // of the configuration
	Class     string // of the Services that are served; "" for those without a class
	Version   string // of who asks; "": not known
	// Lacking are the fields that the cluster's definitions have not, since they are older than who asks.
	Lacking []string
	// Elsewhere are the namespaces in which Fairlead is, where it is not in Namespace.
	Elsewhere  []string
	Now        time.Time
	Objects    policy.Objects   // of the configuration, as they are
	Policy     *policy.Policy   // what they come to
	Problems   []policy.Problem // of the configuration
	Claims     []allocator.Claim
	Namespaces map[string]map[string]string // their labels, by name
	Services   []Service                    // those of type LoadBalancer, of whichever class, and the one that is asked about; by name
	// Announcing is what the speakers see, as the Service's verdicts depend on it; its Node is empty.
	Announcing plan.View
	Speakers   []Speaker // by node
	// Since is when nodes began to announce Services by layer 2, as far as that was read.
	Since map[Announcement]time.Time
	// Dataplane is which Services IPVS serves, and Programmers are those that do, by node.
	Dataplane   mode.Setting
	Programmers []Programmer
	Gaps        []Gap
}

// Service is one Service as it is.
type Service struct {
	allocator.Service
	Type  string
	Class string // "": it names none
	Ours  bool   // it is a load balancer of the class that is served
	// Told is what its condition says of its address; the zero value: it has none.
	Told      verdict.Verdict
	ToldSince time.Time
	// Endpoints and Serving count its endpoints; -1: they were not read.
	Endpoints, Serving int
	ServingNodes       []string // the node of each serving endpoint that names one
	// Dataplane is what it asks to be served by, and Ranges the port ranges that it asks for; "": nothing.
	Dataplane, Ranges string
	Proxied           []netip.Addr    // those of its addresses whose ipMode is Proxy
	ToldMode          verdict.Verdict // what its condition says of that; the zero value: it has none
	NodePorts         NodePorts
	// FamiliesUnset: a manifest leaves the families to the API server.
	FamiliesUnset bool
}

// Speaker is what the speaker of one node says of itself.
type Speaker struct {
	Node  string
	State v1alpha1.SpeakerStateStatus
}

// Announcement is one Service that one node announces. It is comparable.
type Announcement struct {
	Service allocator.Key
	Node    string
}

// Programmer is what the IPVS programmer of one node says of itself.
type Programmer struct {
	Node   string
	State  v1alpha1.ProgrammerStateStatus
	Serves addrset.Set // the addresses of State, if it is not of before the node started anew
	// BeforeBoot: it is, so that the node serves nothing of it.
	BeforeBoot bool
	// Renewed is when it last told that it is alive, by its node's clock; zero: never.
	Renewed time.Time
}

// Announces says whether the speaker says that it announces the address by layer 2, as far as its list goes.
func (s *Speaker) Announces(a netip.Addr) bool {
	return slices.Contains(s.State.Layer2.Addresses, a.String())
}

// session returns the session with a peer.
func (s *Speaker) session(peer string) (v1alpha1.BGPSession, bool) {
	i := slices.IndexFunc(s.State.Sessions, func(x v1alpha1.BGPSession) bool { return x.Peer == peer })
	if i < 0 {
		return v1alpha1.BGPSession{}, false
	}
	return s.State.Sessions[i], true
}

// lacks says whether something of the kinds could not be read.
func (v *View) lacks(kinds ...Kind) bool {
	return slices.ContainsFunc(v.Gaps, func(g Gap) bool { return slices.Contains(kinds, g.Kind) })
}

// service returns the Service of that name.
func (v *View) service(k allocator.Key) (*Service, bool) {
	i := slices.IndexFunc(v.Services, func(s Service) bool { return s.Key == k })
	if i < 0 {
		return nil, false
	}
	return &v.Services[i], true
}

// speaker returns what the speaker of a node says.
func (v *View) speaker(node string) (*Speaker, bool) {
	i := slices.IndexFunc(v.Speakers, func(s Speaker) bool { return s.Node == node })
	if i < 0 {
		return nil, false
	}
	return &v.Speakers[i], true
}

// programmer returns what the IPVS programmer of a node says.
func (v *View) programmer(node string) (*Programmer, bool) {
	i := slices.IndexFunc(v.Programmers, func(p Programmer) bool { return p.Node == node })
	if i < 0 {
		return nil, false
	}
	return &v.Programmers[i], true
}

// allocation returns what the controller decides by, and the place of a Service in it, or -1.
func (v *View) allocation(k allocator.Key) (allocator.View, int) {
	out, at := allocator.View{Policy: v.Policy, Claims: v.Claims, Now: v.Now, OrphanGrace: defaultOrphanGrace}, -1
	for i := range v.Services {
		if s := &v.Services[i]; s.Ours {
			if s.Key == k {
				at = len(out.Services)
			}
			out.Services = append(out.Services, s.Service)
		}
	}
	return out, at
}

// defaultOrphanGrace is what the controller goes by unless it is told otherwise; it decides only about the wording of one
// verdict.
const defaultOrphanGrace = 5 * time.Minute
