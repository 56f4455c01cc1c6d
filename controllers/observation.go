package controllers

// This file holds how people's questions get their View: read at once, without caches, with whatever rights they have.

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/lint"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Observation reads what explanations go by.
type Observation struct {
	Client    client.Reader
	Namespace string // of the configuration objects
	Class     string // of the Services served; "" for those without a class
	Version   string // of who asks
	PageSize  int64  // how many objects are asked for at once; 0: all, as a cache wants it
	// Service is the one that is asked about: the endpoints of it, and of those that share its addresses, are read then alone;
	// the zero value: those of all.
	Service allocator.Key
	Now     time.Time
}

// observed is what was read.
type observed struct {
	objects    policy.Objects
	claims     []allocator.Claim
	services   []corev1.Service
	namespaces map[string]map[string]string
	endpoints  []discoveryv1.EndpointSlice
	nodes      []corev1.Node
	speakers   []v1alpha1.SpeakerState
	since      map[explain.Announcement]time.Time
	setting    mode.Setting
	programmed []v1alpha1.ProgrammerState
	renewed    map[string]time.Time // when each node's IPVS programmer last told that it is alive

	mu   sync.Mutex
	gaps []explain.Gap
}

// Read reads everything at once. What the reader may not read is told as a Gap; an error means that nothing can be said.
func (o Observation) Read(ctx context.Context) (*explain.View, error) {
	x := observed{namespaces: map[string]map[string]string{}, renewed: map[string]time.Time{}, since: map[explain.Announcement]time.Time{}}
	g, listing := errgroup.WithContext(ctx)
	g.SetLimit(8)
	endpoints := func(ctx context.Context) error {
		return x.note(explain.EndpointSlices, "endpointslices.discovery.k8s.io in all namespaces", o.endpoints(ctx, &x))
	}
	if o.Service.Name == "" {
		g.Go(func() error { return endpoints(listing) })
	}
	if o.Service.Name != "" || o.PageSize == 0 { // of all it would be much that is asked of an API server, and little that is told
		g.Go(func() error {
			return x.note(explain.Announcements, "servicel2statuses.metallb.io", o.announcements(listing, &x))
		})
	}
	for _, r := range slices.Concat(o.cluster(&x), o.configuration(&x)) {
		g.Go(func() error { return x.note(r.kind, r.what, r.get(listing)) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if o.Service.Name != "" { // now it is known who shares its addresses
		if err := endpoints(ctx); err != nil {
			return nil, err
		}
	}
	v := o.view(&x)
	c := &x.objects
	if len(x.speakers)+len(c.Pools)+len(c.L2Advertisements)+len(c.BGPAdvertisements)+len(c.BGPPeers) > 0 {
		return v, nil
	}
	var err error
	v.Elsewhere, err = o.elsewhere(ctx)
	return v, err
}

// elsewhere returns the namespaces in which speakers say something of themselves, where they may be read.
func (o Observation) elsewhere(ctx context.Context) (namespaces []string, err error) {
	err = pages(ctx, o, new(v1alpha1.SpeakerStateList), func(l *v1alpha1.SpeakerStateList) {
		for i := range l.Items {
			if n := l.Items[i].Namespace; n != o.Namespace && !slices.Contains(namespaces, n) {
				namespaces = append(namespaces, n)
			}
		}
	})
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil, nil // then it is among the gaps
	}
	if err != nil {
		return nil, fmt.Errorf("looking for Fairlead in other namespaces: %w", err)
	}
	slices.Sort(namespaces)
	return namespaces, nil
}

// reading is one list that is asked for.
type reading struct {
	kind explain.Kind
	what string // the resource, for who may not read it
	get  func(context.Context) error
}

// cluster are the lists of what the cluster is, and of what the speakers say.
func (o Observation) cluster(x *observed) []reading {
	home := client.InNamespace(o.Namespace)
	return []reading{
		{explain.Services, "services in all namespaces", func(ctx context.Context) error { return o.services(ctx, x) }},
		{explain.Nodes, "nodes", func(ctx context.Context) error {
			return pages(ctx, o, new(corev1.NodeList), func(l *corev1.NodeList) { x.nodes = append(x.nodes, l.Items...) })
		}},
		{explain.Namespaces, "namespaces", func(ctx context.Context) error {
			return pages(ctx, o, new(corev1.NamespaceList), func(l *corev1.NamespaceList) {
				for i := range l.Items {
					x.namespaces[l.Items[i].Name] = l.Items[i].Labels
				}
			})
		}},
		{explain.Claims, "addressclaims.fairlead.io", func(ctx context.Context) error {
			return pages(ctx, o, new(v1alpha1.AddressClaimList), func(l *v1alpha1.AddressClaimList) {
				for i := range l.Items {
					if c, err := allocator.ClaimOf(&l.Items[i]); err == nil {
						x.claims = append(x.claims, c)
					}
				}
			}, home)
		}},
		{explain.Speakers, "speakerstates.fairlead.io", func(ctx context.Context) error {
			return pages(ctx, o, new(v1alpha1.SpeakerStateList), func(l *v1alpha1.SpeakerStateList) { x.speakers = append(x.speakers, l.Items...) }, home)
		}},
		{explain.Programmers, "programmerstates.fairlead.io", func(ctx context.Context) error {
			return pages(ctx, o, new(v1alpha1.ProgrammerStateList), func(l *v1alpha1.ProgrammerStateList) { x.programmed = append(x.programmed, l.Items...) }, home)
		}},
		{explain.Programmers, "the ConfigMap " + settingName, func(ctx context.Context) (err error) {
			x.setting, err = readSetting(ctx, o.Client, o.Namespace)
			return err
		}},
		{explain.Programmers, "leases.coordination.k8s.io", func(ctx context.Context) error {
			return pages(ctx, o, new(coordinationv1.LeaseList), func(l *coordinationv1.LeaseList) {
				for i := range l.Items {
					if at := l.Items[i].Spec.RenewTime; at != nil {
						x.renewed[l.Items[i].Labels[labelProgrammer]] = at.Time
					}
				}
			}, home, client.HasLabels{labelProgrammer})
		}},
	}
}

// configuration are the lists of the configuration's objects.
func (o Observation) configuration(x *observed) []reading {
	c := &x.objects
	return []reading{
		configured(o, "ipaddresspools.metallb.io", new(v1beta1.IPAddressPoolList), func(l *v1beta1.IPAddressPoolList) { c.Pools = append(c.Pools, l.Items...) }),
		configured(o, "l2advertisements.metallb.io", new(v1beta1.L2AdvertisementList), func(l *v1beta1.L2AdvertisementList) {
			c.L2Advertisements = append(c.L2Advertisements, l.Items...)
		}),
		configured(o, "bgpadvertisements.metallb.io", new(v1beta1.BGPAdvertisementList), func(l *v1beta1.BGPAdvertisementList) {
			c.BGPAdvertisements = append(c.BGPAdvertisements, l.Items...)
		}),
		configured(o, "bgppeers.metallb.io", new(v1beta2.BGPPeerList), func(l *v1beta2.BGPPeerList) { c.BGPPeers = append(c.BGPPeers, l.Items...) }),
		configured(o, "bfdprofiles.metallb.io", new(v1beta1.BFDProfileList), func(l *v1beta1.BFDProfileList) { c.BFDProfiles = append(c.BFDProfiles, l.Items...) }),
		configured(o, "communities.metallb.io", new(v1beta1.CommunityList), func(l *v1beta1.CommunityList) { c.Communities = append(c.Communities, l.Items...) }),
		configured(o, "addresspolicies.fairlead.io", new(v1alpha1.AddressPolicyList), func(l *v1alpha1.AddressPolicyList) {
			c.AddressPolicies = append(c.AddressPolicies, l.Items...)
		}),
		configured(o, "addressreservations.fairlead.io", new(v1alpha1.AddressReservationList), func(l *v1alpha1.AddressReservationList) {
			c.AddressReservations = append(c.AddressReservations, l.Items...)
		}),
		// No address depends on these.
		{explain.NodePortRanges, "nodeportranges.fairlead.io", func(ctx context.Context) error {
			return pages(ctx, o, new(v1alpha1.NodePortRangeList), func(l *v1alpha1.NodePortRangeList) {
				c.NodePortRanges = append(c.NodePortRanges, l.Items...)
			}, client.InNamespace(o.Namespace))
		}},
	}
}

// configured is the list of one kind of the configuration.
func configured[L any, P interface {
	*L
	client.ObjectList
}](o Observation, what string, empty P, each func(P)) reading {
	return reading{explain.Configuration, what, func(ctx context.Context) error {
		return pages(ctx, o, empty, each, client.InNamespace(o.Namespace))
	}}
}

// services reads the Services of all namespaces or, where that is not allowed, those of the one that is asked about.
func (o Observation) services(ctx context.Context, x *observed) error {
	keep := func(l *corev1.ServiceList) {
		for i := range l.Items {
			if s := &l.Items[i]; s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Namespace == o.Service.Namespace && s.Name == o.Service.Name {
				x.services = append(x.services, *s)
			}
		}
	}
	err := pages(ctx, o, new(corev1.ServiceList), keep)
	if !apierrors.IsForbidden(err) || o.Service.Namespace == "" {
		return err
	}
	if pages(ctx, o, new(corev1.ServiceList), keep, client.InNamespace(o.Service.Namespace)) == nil {
		return err
	}
	var s corev1.Service
	if o.Client.Get(ctx, client.ObjectKey(o.Service), &s) == nil {
		x.services = append(x.services, s)
	}
	return err
}

// endpoints reads those of all Services, or of the one that is asked about and of those that share its addresses.
func (o Observation) endpoints(ctx context.Context, x *observed) error {
	keep := func(l *discoveryv1.EndpointSliceList) { x.endpoints = append(x.endpoints, l.Items...) }
	if o.Service.Name == "" {
		return pages(ctx, o, new(discoveryv1.EndpointSliceList), keep)
	}
	for _, of := range x.sharers(o.Service) {
		err := pages(ctx, o, new(discoveryv1.EndpointSliceList), keep, client.InNamespace(of.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: of.Name})
		if err != nil {
			return err
		}
	}
	return nil
}

// announcements reads since when the Service, or every one, is announced by layer 2.
func (o Observation) announcements(ctx context.Context, x *observed) error {
	options := []client.ListOption{client.InNamespace(o.Namespace)}
	if o.Service.Name != "" {
		options = append(options, client.MatchingLabels{v1beta1.LabelServiceNamespace: o.Service.Namespace, v1beta1.LabelServiceName: o.Service.Name})
	}
	return pages(ctx, o, new(v1beta1.ServiceL2StatusList), func(l *v1beta1.ServiceL2StatusList) {
		for i := range l.Items {
			s := &l.Items[i]
			key := allocator.Key{Namespace: s.Labels[v1beta1.LabelServiceNamespace], Name: s.Labels[v1beta1.LabelServiceName]}
			x.since[explain.Announcement{Service: key, Node: s.Labels[v1beta1.LabelNode]}] = s.CreationTimestamp.Time
		}
	}, options...)
}

// sharers returns the Service, whether it is there or not, and those that show one of its addresses.
func (x *observed) sharers(about allocator.Key) []allocator.Key {
	out := []allocator.Key{about}
	at := slices.IndexFunc(x.services, func(s corev1.Service) bool { return s.Namespace == about.Namespace && s.Name == about.Name })
	if at < 0 {
		return out
	}
	held := allocator.Ingress(&x.services[at])
	for i := range x.services {
		s := &x.services[i]
		if i != at && slices.ContainsFunc(allocator.Ingress(s), func(a netip.Addr) bool { return slices.Contains(held, a) }) {
			out = append(out, allocator.Key{Namespace: s.Namespace, Name: s.Name})
		}
	}
	return out
}

// pages lists everything, some at a time, into copies of an empty list.
func pages[L any, P interface {
	*L
	client.ObjectList
}](ctx context.Context, o Observation, empty P, each func(P), options ...client.ListOption) error {
	for token := ""; ; {
		list := P(new(L))
		page := options
		if o.PageSize > 0 {
			page = append(slices.Clip(options), client.Limit(o.PageSize), client.Continue(token))
		}
		if err := o.Client.List(ctx, list, page...); err != nil {
			return err
		}
		each(list)
		if token = list.GetContinue(); token == "" || o.PageSize == 0 {
			return nil
		}
	}
}

// note makes a Gap of an error that leaves something to be said.
func (x *observed) note(kind explain.Kind, what string, err error) error {
	absent := meta.IsNoMatchError(err) || apierrors.IsNotFound(err)
	switch {
	case err == nil:
		return nil
	case !absent && !apierrors.IsForbidden(err):
		return fmt.Errorf("reading %s: %w", what, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gaps = append(x.gaps, explain.Gap{Kind: kind, What: what, Absent: absent})
	return nil
}

// view puts together what was read.
func (o Observation) view(x *observed) *explain.View {
	v := &explain.View{Namespace: o.Namespace, Class: o.Class, Version: o.Version, Now: o.Now, Claims: x.claims, Gaps: x.gaps, Namespaces: x.namespaces}
	slices.SortFunc(v.Gaps, func(a, b explain.Gap) int { return cmp.Compare(a.What, b.What) })
	v.Objects = withoutSecrets(x.objects)
	v.Policy, v.Problems = policy.Compile(v.Objects, nil)
	counts := countEndpoints(x.endpoints)
	for i := range x.services {
		v.Services = append(v.Services, o.service(&x.services[i], x, counts))
	}
	slices.SortFunc(v.Services, func(a, b explain.Service) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	for i := range x.speakers {
		v.Speakers = append(v.Speakers, explain.Speaker{Node: x.speakers[i].Name, State: x.speakers[i].Status})
	}
	v.Since, v.Dataplane = x.since, x.setting
	served := map[string]addrset.Set{}
	nodes := map[string]*corev1.Node{}
	for i := range x.nodes {
		nodes[x.nodes[i].Name] = &x.nodes[i]
	}
	for i := range x.programmed {
		p := &x.programmed[i]
		n := cmp.Or(nodes[p.Name], &corev1.Node{})
		served[p.Name] = servedBy(p, n)
		v.Programmers = append(v.Programmers, explain.Programmer{
			Node: p.Name, State: p.Status, Serves: served[p.Name], BeforeBoot: beforeBoot(p, n), Renewed: x.renewed[p.Name],
		})
	}
	slices.SortFunc(v.Programmers, func(a, b explain.Programmer) int { return cmp.Compare(a.Node, b.Node) })
	v.Announcing = o.announcing(x, v.Policy)
	v.Announcing.Programmed = programmedFor(v.Announcing.Services, served)
	return v
}

// withoutSecrets supposes that the Secrets which BGPPeers name are as they should be: those who ask do not read them, and
// what is wrong with one is told by the speakers.
func withoutSecrets(o policy.Objects) policy.Objects {
	o.Secrets = map[policy.SecretKey]policy.Secret{}
	for i := range o.BGPPeers {
		if key, ok := policy.SecretOf(&o.BGPPeers[i]); ok {
			o.Secrets[key] = policy.Secret{Type: corev1.SecretTypeBasicAuth, Password: "not read"}
		}
	}
	return o
}

// service reads one Service.
func (o Observation) service(s *corev1.Service, x *observed, counts map[allocator.Key]count) explain.Service {
	out := serviceOf(s, x.namespaces[s.Namespace], o.Class)
	if c := meta.FindStatusCondition(s.Status.Conditions, ConditionAssigned); c != nil {
		out.Told = verdict.Verdict{Reason: verdict.Reason(c.Reason), Message: c.Message}
		out.ToldSince = c.LastTransitionTime.Time
	}
	if c := meta.FindStatusCondition(s.Status.Conditions, ConditionProgrammed); c != nil {
		out.ToldMode = verdict.Verdict{Reason: verdict.Reason(c.Reason), Message: c.Message}
	}
	if c := meta.FindStatusCondition(s.Status.Conditions, allocator.ConditionNodePorts); c != nil {
		out.NodePorts.Told, out.NodePorts.OK = verdict.Verdict{Reason: verdict.Reason(c.Reason), Message: c.Message}, c.Status == metav1.ConditionTrue
	}
	if out.NodePorts.Asked != "" || out.NodePorts.Assigned != "" {
		out.NodePorts.Nodes = x.portsOf(out.Key.String())
	}
	n := counts[out.Key]
	out.Endpoints, out.Serving, out.ServingNodes = n.all, n.serving, n.nodes
	return out
}

// portsOf returns what the programmers say of a Service's ports of NodePortRanges, by node.
func (x *observed) portsOf(service string) (out []explain.ServedPort) {
	for i := range x.programmed {
		for _, n := range x.programmed[i].Status.NodePorts {
			if n.Service == service {
				out = append(out, explain.ServedPort{Node: x.programmed[i].Name, Port: n.Port, Address: n.Address, Refused: n.Refused})
			}
		}
	}
	slices.SortFunc(out, func(a, b explain.ServedPort) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Address, b.Address))
	})
	return out
}

func serviceOf(s *corev1.Service, namespaceLabels map[string]string, class string) explain.Service {
	out := explain.Service{
		Service: allocator.ServiceOf(s, namespaceLabels), Type: string(s.Spec.Type), Ours: ours(s, class),
		Dataplane: asked(s), Ranges: s.Annotations[portrange.Annotation],
	}
	out.Proxied = proxied(s, out.Held)
	if s.Spec.LoadBalancerClass != nil {
		out.Class = *s.Spec.LoadBalancerClass
	}
	out.NodePorts.Class, out.NodePorts.Ours = s.Annotations[allocator.AnnotationClass], portsOurs(s, class)
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		out.NodePorts.Class = out.Class
	}
	out.NodePorts.Asked, out.NodePorts.Assigned = s.Annotations[allocator.AnnotationNodePorts], s.Annotations[allocator.AnnotationNodePortsAssigned]
	return out
}

// Applied returns the view as it would be if the manifests were applied.
func Applied(v *explain.View, m lint.Manifests) *explain.View {
	var services []explain.Service
	for i := range m.Services {
		s := m.Services[i].DeepCopy()
		if s.Namespace == "" {
			s.Namespace = metav1.NamespaceDefault
		}
		unset := len(s.Spec.IPFamilies) == 0
		if unset { // the cluster's first family is that of its first Service, as a rule
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
			if len(v.Services) > 0 && len(v.Services[0].Families) > 0 && v.Services[0].Families[0] == policy.IPv6 {
				s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
			}
		}
		x := serviceOf(s, v.Namespaces[s.Namespace], v.Class)
		x.FamiliesUnset = unset
		services = append(services, x)
	}
	return explain.Applied(v, withoutSecrets(m.Objects), services)
}

// count is a number of endpoints, of those that serve, and the nodes of these.
type count struct {
	all, serving int
	nodes        []string
}

// countEndpoints counts the endpoints of every Service. A dual-stack Service has slices of both families for the same pods,
// so the family that has more counts.
func countEndpoints(list []discoveryv1.EndpointSlice) map[allocator.Key]count {
	type kind struct {
		allocator.Key
		discoveryv1.AddressType
	}
	of := map[kind]count{}
	for i := range list {
		e := &list[i]
		k := kind{allocator.Key{Namespace: e.Namespace, Name: e.Labels[discoveryv1.LabelServiceName]}, e.AddressType}
		n := of[k]
		for j := range e.Endpoints {
			n.all++
			if serves(&e.Endpoints[j]) {
				n.serving++
				if node := e.Endpoints[j].NodeName; node != nil {
					n.nodes = append(n.nodes, *node)
				}
			}
		}
		of[k] = n
	}
	out := make(map[allocator.Key]count, len(of))
	for k, n := range of {
		before := out[k.Key]
		n.all, n.serving = max(before.all, n.all), max(before.serving, n.serving)
		if len(before.nodes) > len(n.nodes) || len(before.nodes) == len(n.nodes) && slices.Compare(before.nodes, n.nodes) < 0 {
			n.nodes = before.nodes
		}
		out[k.Key] = n
	}
	return out
}

// announcing puts together what the speakers see. A node counts as having a live speaker where that has said something of
// itself; where no speaker of the cluster has, all count.
func (o Observation) announcing(x *observed, p *policy.Policy) plan.View {
	published := publishedBy(x.speakers)
	services, slices := make([]*keptService, len(x.services)), make([]*keptSlice, len(x.endpoints))
	for i := range x.services {
		services[i] = keepService(&x.services[i], o.Class)
	}
	for i := range x.endpoints {
		slices[i] = keepSlice(&x.endpoints[i])
	}
	v := plan.View{Policy: p, Services: announcedServices(p, services, slices)}
	var local speaker.Local
	unsettled := map[string]bool{}
	for i := range x.speakers {
		unsettled[x.speakers[i].Name] = !x.speakers[i].Status.Settled
	}
	for i := range x.nodes {
		n := nodeOf(&x.nodes[i])
		n.Links, n.Unsettled = published.links[n.Name], unsettled[n.Name]
		v.Nodes = append(v.Nodes, n)
		if _, said := unsettled[n.Name]; said || len(x.speakers) == 0 {
			v.Members = append(v.Members, n.Name)
			local.Members = append(local.Members, plan.Member{Node: n.Name})
		}
	}
	v.Held = held("", published, local)
	return v
}
