package controllers

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// gather puts together the view: the cluster's part of it, and what the speaker sees by itself.
func (a *Announcing) gather(ctx context.Context, local speaker.Local) (plan.View, error) {
	v := plan.View{Node: a.Node, Links: local.Links, IgnoreExcludeLabel: a.Options.IgnoreExcludeLabel}
	// The controller logs problems of the configuration and records Events, once for the cluster.
	objects, err := announcementObjects(ctx, a.Client, a.Namespace)
	if err == nil {
		err = passwords(ctx, a.Client, a.Namespace, &objects)
	}
	if err != nil {
		return v, err
	}
	compiled := compile(objects, a.policy)
	a.policy, v.Policy = compiled.policy, compiled.policy
	a.problems, a.objects = compiled.problems, compiled.objects
	published, err := readPublished(ctx, a.Client, a.Namespace)
	if err != nil {
		return v, err
	}
	a.peersByMAC.Store(&published.byMAC)
	if v.Nodes, err = a.nodes(ctx, published, local.Members); err != nil {
		return v, err
	}
	for _, m := range local.Members {
		v.Members = append(v.Members, m.Node)
	}
	v.Held = held(a.Node, published, local)
	if v.Services, err = a.services(); err != nil {
		return v, err
	}
	served, err := readProgrammed(ctx, a.Client, a.Namespace)
	v.Programmed = programmedFor(v.Services, served)
	return v, err
}

// programmedFor returns the nodes that serve each address whose ipMode is Proxy.
func programmedFor(services []plan.Service, served map[string]addrset.Set) map[netip.Addr][]string {
	nodes := slices.Sorted(maps.Keys(served))
	var out map[netip.Addr][]string
	for i := range services {
		for _, x := range services[i].Proxy {
			if _, ok := out[x]; ok {
				continue
			}
			if out == nil {
				out = map[netip.Addr][]string{}
			}
			out[x] = nil
			for _, n := range nodes {
				if served[n].Contains(x) {
					out[x] = append(out[x], n)
				}
			}
		}
	}
	return out
}

// nodes returns the Nodes, with what their speakers say.
func (a *Announcing) nodes(ctx context.Context, p published, members []plan.Member) ([]plan.Node, error) {
	var list corev1.NodeList
	if err := a.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing Nodes: %w", err)
	}
	alive := make(map[string]plan.Member, len(members))
	for _, m := range members {
		alive[m.Node] = m
	}
	unsettled := plan.Unsettled(members)
	out := make([]plan.Node, 0, len(list.Items))
	for i := range list.Items {
		n := nodeOf(&list.Items[i])
		n.Draining = n.Draining || a.Options.DrainCordoned && list.Items[i].Spec.Unschedulable
		n.Links = p.links[n.Name]
		if m, ok := alive[n.Name]; ok && m.Facts != (plan.Facts{}) {
			n.Unsettled = unsettled[n.Name]
			n.Links = plan.Since(n.Links, m.Links)
			if !m.Settled && !n.Unsettled {
				n.Links = plan.Settle(n.Links)
			}
		}
		out = append(out, n)
	}
	return out, nil
}

// held returns which live node announces an address now: this one if it does, else the one that published it last.
// Where several did, one of them announces it, or will, by the same rule that makes the others silent.
func held(node string, p published, local speaker.Local) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, m := range local.Members {
		if m.Node == node {
			continue
		}
		for _, x := range p.addresses[m.Node] {
			if other, ok := out[x]; !ok || plan.Outranks(x, m.Node, other) {
				out[x] = m.Node
			}
		}
	}
	for _, x := range local.Announced {
		out[x.Address] = node
	}
	return out
}

// published is what the speakers published, by node.
type published struct {
	links     map[string][]plan.NodeLink
	addresses map[string][]netip.Addr // that the node announces by layer 2, as far as they are listed
	byMAC     map[[6]byte]string      // the node that has a link with a hardware address
}

// readPublished reads the SpeakerStates. What does not parse is left out.
func readPublished(ctx context.Context, c client.Reader, namespace string) (published, error) {
	var list v1alpha1.SpeakerStateList
	err := listAll(ctx, c, namespace, &list)
	return publishedBy(list.Items), err
}

func publishedBy(states []v1alpha1.SpeakerState) published {
	out := published{links: map[string][]plan.NodeLink{}, addresses: map[string][]netip.Addr{}, byMAC: map[[6]byte]string{}}
	for i := range states {
		s := &states[i]
		links := []plan.NodeLink{} // not nil: they are known
		for _, l := range s.Status.Links {
			x := plan.NodeLink{Name: l.Name, Up: l.Up, Unsettled: l.Unsettled}
			for _, text := range l.Subnets {
				if p, err := netip.ParsePrefix(text); err == nil {
					x.Subnets = append(x.Subnets, p)
				}
			}
			links = append(links, x)
			if mac, ok := parseMAC(l.MAC); ok {
				out.byMAC[mac] = s.Name
			}
		}
		out.links[s.Name] = links
		for _, text := range s.Status.Layer2.Addresses {
			if x, err := netip.ParseAddr(text); err == nil {
				out.addresses[s.Name] = append(out.addresses[s.Name], x)
			}
		}
	}
	return out
}

// services returns the Services that are ours and rightfully have an address, with their endpoints.
func (a *Announcing) services() ([]plan.Service, error) {
	services, slices, err := a.kept.all()
	if err != nil {
		return nil, err
	}
	return announcedServices(a.policy, services, slices), nil
}

// shuttingDown is what the kubelet's graceful shutdown says in the Ready condition.
const shuttingDown = "node is shutting down"

func nodeOf(n *corev1.Node) plan.Node {
	out := plan.Node{Name: n.Name, Labels: n.Labels}
	_, out.Excluded = n.Labels[corev1.LabelNodeExcludeBalancers]
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			out.Ready = c.Status == corev1.ConditionTrue
			out.Draining = !out.Ready && strings.Contains(c.Message, shuttingDown)
		case corev1.NodeNetworkUnavailable:
			out.NetworkUnavailable = c.Status == corev1.ConditionTrue
		}
	}
	for _, t := range n.Spec.Taints {
		out.OutOfService = out.OutOfService || t.Key == corev1.TaintNodeOutOfService
	}
	return out
}
