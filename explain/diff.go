package explain

// This file holds what would change if other configuration objects and Services were applied.

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Action is what becomes of a Service.
type Action string

// The actions. A Service that keeps its address may be announced by others.
const (
	Gets       Action = "gets"
	Keeps      Action = "keeps"
	Moves      Action = "moves"
	Loses      Action = "loses"
	Announcers Action = "announced by others"
)

// Change is what becomes of one Service.
type Change struct {
	Service   string         `json:"service"` // namespace/name
	Action    Action         `json:"action"`
	Before    []netip.Addr   `json:"before,omitempty"`
	After     []netip.Addr   `json:"after,omitempty"`
	Pool      string         `json:"pool,omitempty"`     // that After is from
	ByBefore  []string       `json:"byBefore,omitempty"` // the nodes that announce it
	ByAfter   []string       `json:"byAfter,omitempty"`  // the nodes that would
	Reason    verdict.Reason `json:"reason"`             // of what it would come to
	Message   string         `json:"message"`            //
	wasSilent bool           // nobody announces it now
}

// Diff is what would change.
type Diff struct {
	Changes  []Change        `json:"changes"`        // by name
	Keep     int             `json:"keep"`           // Services for which nothing changes
	Pools    []PoolChange    `json:"pools"`          // by name, those that change
	Sessions []SessionChange `json:"sessions"`       // by peer
	Routes   []RouteChange   `json:"routes"`         // by prefix and peer
	Problems []Problem       `json:"problems"`       // that are not there yet
	Gaps     []string        `json:"gaps,omitempty"` // what could not be read, so that this is not the whole truth
}

// PoolChange is a pool of which there would be more or less; a pool that is not there has no addresses.
type PoolChange struct {
	Name          string `json:"name"`
	Before, After PoolStatus
}

// Same says whether nothing would change.
func (d *Diff) Same() bool {
	return len(d.Changes)+len(d.Pools)+len(d.Sessions)+len(d.Routes)+len(d.Problems) == 0
}

// Compare compares what two views come to. Both are carried to their end: what is decided counts, not what statuses show
// by now.
func Compare(before, after *View) Diff {
	d := Diff{Changes: []Change{}, Pools: []PoolChange{}, Sessions: []SessionChange{}, Routes: []RouteChange{}, Problems: []Problem{}, Gaps: before.gaps()}
	d.pools(before.pools(), after.pools())
	before, after = carriedOut(before), carriedOut(after)
	was, is := settled(before), settled(after)
	for _, name := range union(was, is) {
		if c := change(name, was[name], is[name]); c.Action == Keeps {
			d.Keep++
		} else {
			d.Changes = append(d.Changes, c)
		}
	}
	d.bgp(before.spoken(), after.spoken())
	for _, p := range after.problems() {
		if !slices.Contains(before.problems(), p) {
			d.Problems = append(d.Problems, p)
		}
	}
	return d
}

// change compares what two views say of one Service, which may be in the second one only.
func change(name string, was, is ServiceStatus) Change {
	c := Change{
		Service: name, Before: was.Addresses, After: is.Addresses, Pool: is.Pool, ByBefore: was.Nodes, ByAfter: is.Nodes,
		Reason: is.Reason, Message: is.Message, wasSilent: silences(was.Reason),
	}
	switch lost := !contains(is.Addresses, was.Addresses); {
	case lost && len(is.Addresses) == 0:
		c.Action = Loses
	case lost:
		c.Action = Moves
	case len(is.Addresses) > len(was.Addresses):
		c.Action = Gets
	case !slices.Equal(was.Nodes, is.Nodes), c.wasSilent != silences(is.Reason):
		c.Action = Announcers
	default:
		c.Action = Keeps
	}
	return c
}

func contains(all, some []netip.Addr) bool {
	return !slices.ContainsFunc(some, func(a netip.Addr) bool { return !slices.Contains(all, a) })
}

// settled returns what every Service comes to in a view that was carried out.
func settled(v *View) map[string]ServiceStatus {
	out := map[string]ServiceStatus{}
	for _, s := range Table(v) {
		slices.Sort(s.Nodes)
		out[s.Service] = s
	}
	return out
}

// carriedOut returns the view in which every Service shows what is decided for it.
func carriedOut(v *View) *View {
	out := *v
	view, _ := v.allocation(allocator.Key{})
	decisions := allocator.Decide(view).Decisions
	out.Services, out.Announcing.Services = slices.Clone(v.Services), nil
	proxy := map[allocator.Key][]netip.Addr{}
	for i := range v.Announcing.Services {
		s := &v.Announcing.Services[i]
		proxy[allocator.Key{Namespace: s.Namespace, Name: s.Name}] = s.Proxy
	}
	at := 0
	for i := range out.Services {
		s := &out.Services[i]
		if !s.Ours {
			continue
		}
		s.Held, s.HeldFrom = decisions[at].Addresses, decisions[at].Pool
		s.Told = decisions[at].Verdict
		at++
		if len(s.Held) > 0 {
			out.Announcing.Services = append(out.Announcing.Services, plan.Service{
				Namespace: s.Namespace, Name: s.Name, UID: s.UID, Labels: s.Labels, Addresses: s.Held, Proxy: proxy[s.Key],
				AssignedAt: s.AssignedAt, Pool: s.HeldFrom, Local: s.Local, Serving: s.Serving > 0, ServingNodes: s.ServingNodes, Endpoints: s.Endpoints > 0,
			})
		}
	}
	return &out
}

// union returns the keys of both maps, sorted.
func union[T any](a, b map[string]T) (out []string) {
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// pools notes the pools that change in size or in whether they give anything.
func (d *Diff) pools(before, after []PoolStatus) {
	was, is := map[string]PoolStatus{}, map[string]PoolStatus{}
	for _, p := range before {
		was[p.Name] = p
	}
	for _, p := range after {
		is[p.Name] = p
	}
	for _, name := range union(was, is) {
		a, b := was[name], is[name]
		if a.IPv4.Total != b.IPv4.Total || a.IPv6.Total != b.IPv6.Total || a.Invalid != b.Invalid {
			d.Pools = append(d.Pools, PoolChange{name, a, b})
		}
	}
}

// Applied returns the view as it would be if the objects were applied: those of the same name are replaced, and new ones are
// the youngest. Services replace those of the same name and keep what the cluster knows of them.
func Applied(v *View, o policy.Objects, services []Service) *View {
	out := *v
	out.Objects = v.Objects.With(o, v.Now)
	out.Policy, out.Problems = policy.Compile(out.Objects, v.Policy)
	out.Announcing.Policy = out.Policy
	out.Services = slices.Clone(v.Services)
	for _, s := range services {
		if old, ok := out.service(s.Key); ok {
			s.UID, s.Created, s.Held, s.HeldFrom, s.AssignedAt, s.OrphanedSince = old.UID, old.Created, old.Held, old.HeldFrom, old.AssignedAt, old.OrphanedSince
			s.Proxied, s.ToldMode = old.Proxied, old.ToldMode
			s.Endpoints, s.Serving, s.ServingNodes, s.NamespaceLabels = old.Endpoints, old.Serving, old.ServingNodes, old.NamespaceLabels
			if s.FamiliesUnset {
				s.Families, s.RequireDual = old.Families, old.RequireDual
			}
			*old = s
			continue
		}
		s.UID, s.Created = "new "+s.Key.String(), v.Now
		out.Services = append(out.Services, s)
	}
	slices.SortFunc(out.Services, func(a, b Service) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return &out
}

// Write writes the differences for people, one line for each; nothing where there are none.
func (d *Diff) Write(w io.Writer, s Style) error {
	var b strings.Builder
	for _, c := range d.Changes {
		b.WriteString(c.line(s) + "\n")
	}
	for _, p := range d.Pools {
		fmt.Fprintf(&b, "~ IPAddressPool %q: %s -> %s\n", clean(p.Name), p.Before.size(), p.After.size())
	}
	d.writeBGP(&b, s)
	for _, p := range d.Problems {
		fmt.Fprintf(&b, "%s %s%s\n", s.in(yellow, "!"), clean(p.Message), reason(string(p.Reason)))
	}
	if b.Len() > 0 {
		fmt.Fprintf(&b, "%s unchanged\n", counted(d.Keep, "Service"))
	}
	for _, g := range d.Gaps {
		fmt.Fprintf(&b, "%s %s\n", s.in(yellow, "not read:"), clean(g))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line writes the change as one line.
func (c *Change) line(s Style) string {
	sign, colour, text := "~", yellow, ""
	switch c.Action {
	case Gets:
		sign, colour, text = "+", green, fmt.Sprintf("gets %s from %s", addresses(c.After), quoted(c.Pool))
	case Loses:
		sign, colour, text = "-", red, fmt.Sprintf("loses %s: %s%s", addresses(c.Before), c.Message, reason(string(c.Reason)))
	case Moves:
		text = fmt.Sprintf("moves from %s to %s from %s", addresses(c.Before), addresses(c.After), quoted(c.Pool))
	default:
		text = fmt.Sprintf("keeps %s", or(addresses(c.After), "no address"))
	}
	if c.Action != Loses {
		text += c.announcers()
	}
	return s.in(colour, sign) + " Service " + clean(c.Service) + ": " + clean(text)
}

// announcers ends a line with who would announce the addresses.
func (c *Change) announcers() string {
	switch {
	case silences(c.Reason):
		return ", and nobody would announce it: " + c.Message + reason(string(c.Reason))
	case len(c.ByAfter) == 0 && len(c.ByBefore) == 0:
		return ""
	case slices.Equal(c.ByAfter, c.ByBefore):
		return ", still announced by " + listed(c.ByAfter, quoted)
	case len(c.ByAfter) == 0:
		return ", announced by BGP, no more by " + listed(c.ByBefore, quoted)
	case len(c.ByBefore) == 0:
		return ", announced by " + listed(c.ByAfter, quoted)
	}
	return fmt.Sprintf(", announced by %s instead of %s", listed(c.ByAfter, quoted), listed(c.ByBefore, quoted))
}

// size writes how many addresses a pool has.
func (p *PoolStatus) size() string {
	var parts []string
	for _, x := range []struct {
		family string
		n      int64
	}{{"IPv4", p.IPv4.Total}, {"IPv6", p.IPv6.Total}} {
		if x.n > 0 {
			parts = append(parts, many(x.n)+" "+x.family)
		}
	}
	text := or(strings.Join(parts, " and "), "no") + " addresses"
	if p.Invalid {
		text += ", invalid"
	}
	return text
}
