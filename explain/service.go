package explain

// This file holds the chain from a Service to its address.

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// balancer is the type of the Services that get addresses.
const balancer = "LoadBalancer"

// OfService explains a Service: whether it is ours, which address it has and why, what serves that on the nodes, and who
// announces it.
func OfService(v *View, key allocator.Key) (Explanation, error) {
	s, ok := v.service(key)
	if !ok {
		return Explanation{}, v.noService(key)
	}
	e := Explanation{Kind: kindService, Name: key.String()}
	if s.Type != balancer && e.nodePorts(v, s) { // it wants no address
		e.conclude(v, s.NodePorts.Told.Reason, "%s", s.NodePorts.Told.Message)
		return e, nil
	}
	if !e.ours(v, s) {
		e.conclude(v, "", "")
		return e, nil
	}
	e.wishes(s)
	shown := e.address(v, s)
	e.partners(v, s)
	e.endpoints(v, s)
	e.served(v, s)
	how := e.announcements(v, s)
	_ = e.nodePorts(v, s)
	if len(shown) == 0 {
		e.conclude(v, verdict.NoPool, "the Service has no address")
		return e, nil
	}
	e.conclude(v, verdict.Announced, "%s", how)
	return e, nil
}

// noService says that a Service does not exist, and in which namespace one of its name does.
func (v *View) noService(key allocator.Key) error {
	var there, names []string
	for i := range v.Services {
		s := &v.Services[i]
		if s.Name == key.Name {
			there = append(there, s.Namespace)
		}
		names = append(names, s.Key.String())
	}
	if len(there) > 0 {
		return NotFoundError{fmt.Sprintf("there is no Service %q in namespace %q, but there is one in %s", key.Name, key.Namespace, listed(there, quoted))}
	}
	return notFound("load balancer", key.String(), names)
}

// ours says whether the Service is one that is served.
func (e *Explanation) ours(v *View, s *Service) bool {
	if s.Type != balancer {
		e.add("type", No, "", "the Service is of type %s: only those of type LoadBalancer get an address", s.Type)
		return false
	}
	e.add("type", Yes, "", "LoadBalancer")
	switch {
	case s.Ours && s.Class == "":
		e.add("class", Yes, "", "it names no class, and such Services are served")
	case s.Ours:
		e.add("class", Yes, "", "its class %q is served", s.Class)
	case s.Class == "":
		e.add("class", No, "", "it names no loadBalancerClass, and only those of class %q are served", v.Class)
	case v.Class == "":
		e.add("class", No, "", "its loadBalancerClass is %q, and only Services without a class are served (give --lb-class if the controller has that flag)", s.Class)
	default:
		e.add("class", No, "", "its loadBalancerClass is %q, and only those of class %q are served", s.Class, v.Class)
	}
	return s.Ours
}

// wishes says what the Service asks for.
func (e *Explanation) wishes(s *Service) {
	text := listed(s.Families, policy.Family.String)
	switch {
	case len(s.Families) == 2 && s.RequireDual:
		text += ", both required"
	case len(s.Families) == 2:
		text += ", the second one if it is to be had"
	}
	e.add("families", Fact, "", "%s", text)
	var asks []string
	if s.Pool != "" {
		asks = append(asks, fmt.Sprintf("pool %q", s.Pool))
	}
	if len(s.Addresses) > 0 {
		asks = append(asks, addresses(s.Addresses))
	}
	if s.SharingKey != "" {
		asks = append(asks, fmt.Sprintf("sharing under the key %q", s.SharingKey))
	}
	if len(asks) > 0 {
		e.add("asks for", Fact, "", "%s", strings.Join(asks, ", "))
	}
}

// address says which address the Service has, and how every pool stands to it.
func (e *Explanation) address(v *View, s *Service) (shown []netip.Addr) {
	view, at := v.allocation(s.Key)
	if v.lacks(Services, Namespaces, Configuration, Claims) {
		e.toldAddress(s)
		return s.Held
	}
	d, considered := allocator.Consider(view, at)
	step := e.add("address", yes(len(d.Addresses) > 0), d.Reason, "%s", d.Message)
	for _, c := range considered {
		step.add(c.Pool, yes(c.Taken), c.Reason, "%s", c.Message)
	}
	switch {
	case !slices.Equal(d.Addresses, s.Held):
		what := "no address"
		if len(s.Held) > 0 {
			what = addresses(s.Held)
		}
		if len(d.Addresses) > 0 || len(s.Held) > 0 {
			e.add("status", No, "", "the status shows %s, but it should show %s: the controller has not written it yet; see whether it runs", what, or(addresses(d.Addresses), "none"))
		}
	case len(s.Held) > 0 && s.AssignedAt.IsZero():
		e.add("status", Yes, "", "the status shows %s", addresses(s.Held))
	case len(s.Held) > 0:
		e.add("status", Yes, "", "the status shows %s, for %s", addresses(s.Held), Age(v.Now, s.AssignedAt))
	}
	return s.Held
}

// toldAddress says what the controller wrote down, where not all is known that it decides by.
func (e *Explanation) toldAddress(s *Service) {
	if s.Told.Reason == "" {
		e.add("address", Unknown, "", "the controller has not said anything of this Service, and not all could be read that it decides by")
		return
	}
	e.add("address", yes(len(s.Held) > 0), s.Told.Reason, "the controller says: %s", s.Told.Message)
}

// partners says who else has the Service's addresses.
func (e *Explanation) partners(v *View, s *Service) {
	for _, a := range s.Held {
		var names []string
		for i := range v.Services {
			if o := &v.Services[i]; o.Ours && o.Key != s.Key && slices.Contains(o.Held, a) {
				names = append(names, o.Key.String())
			}
		}
		if len(names) > 0 {
			e.add("shared with", Fact, "", "%s has %s too", listed(names, same), a)
		}
	}
}

// endpoints counts them.
func (e *Explanation) endpoints(v *View, s *Service) {
	switch {
	case s.Endpoints < 0 || v.lacks(EndpointSlices):
		e.add("endpoints", Unknown, "", "the EndpointSlices of the Service could not be read")
	case s.Serving > 0:
		e.add("endpoints", Yes, "", "%d of %s serving%s", s.Serving, counted(s.Endpoints, "endpoint"), v.where(s))
	case s.Endpoints > 0:
		e.add("endpoints", No, verdict.NoEndpoints, "none of the Service's %s is serving: its pods are not ready", counted(s.Endpoints, "endpoint"))
	default:
		e.add("endpoints", No, verdict.NoEndpoints, "the Service has no endpoints: its selector matches no pod")
	}
}

// where names the nodes of the serving endpoints.
func (v *View) where(s *Service) string {
	for i := range v.Announcing.Services {
		x := &v.Announcing.Services[i]
		if x.Namespace == s.Namespace && x.Name == s.Name && len(x.ServingNodes) > 0 {
			nodes := slices.Clone(x.ServingNodes)
			slices.Sort(nodes)
			return ", on " + listed(slices.Compact(nodes), same)
		}
	}
	return ""
}

func or(text, empty string) string {
	if text == "" {
		return empty
	}
	return text
}
