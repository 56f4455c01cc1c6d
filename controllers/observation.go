package controllers

// This file holds how people's questions get their View: read at once, without caches, with whatever rights they have.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Observation reads what explanations go by.
type Observation struct {
	Client    client.Reader
	Namespace string // of the configuration objects
	Class     string // of the Services served; "" for those without a class
	PageSize  int64  // how many objects are asked for at once; 0: all, as a cache wants it
	// Service is the one that is asked about, whose endpoints alone are read then; the zero value: those of all.
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

	mu   sync.Mutex
	gaps []explain.Gap
}

// Read reads everything at once. What the reader may not read is told as a Gap; an error means that nothing can be said.
func (o Observation) Read(ctx context.Context) (*explain.View, error) {
	x := observed{namespaces: map[string]map[string]string{}}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	read := func(kind explain.Kind, what string, get func() error) {
		g.Go(func() error { return x.note(kind, what, get()) })
	}
	home := client.InNamespace(o.Namespace)
	configured := func(what string, get func() error) { read(explain.Configuration, what, get) }
	read(explain.Services, "services in all namespaces", func() error { return o.services(ctx, &x) })
	read(explain.EndpointSlices, "endpointslices.discovery.k8s.io in all namespaces", func() error { return o.endpoints(ctx, &x) })
	read(explain.Nodes, "nodes", func() error {
		return pages(ctx, o, new(corev1.NodeList), func(l *corev1.NodeList) { x.nodes = append(x.nodes, l.Items...) })
	})
	read(explain.Namespaces, "namespaces", func() error {
		return pages(ctx, o, new(corev1.NamespaceList), func(l *corev1.NamespaceList) {
			for i := range l.Items {
				x.namespaces[l.Items[i].Name] = l.Items[i].Labels
			}
		})
	})
	configured("ipaddresspools.metallb.io", func() error {
		return pages(ctx, o, new(v1beta1.IPAddressPoolList), func(l *v1beta1.IPAddressPoolList) { x.objects.Pools = append(x.objects.Pools, l.Items...) }, home)
	})
	configured("l2advertisements.metallb.io", func() error {
		return pages(ctx, o, new(v1beta1.L2AdvertisementList), func(l *v1beta1.L2AdvertisementList) {
			x.objects.L2Advertisements = append(x.objects.L2Advertisements, l.Items...)
		}, home)
	})
	configured("bgpadvertisements.metallb.io", func() error {
		return pages(ctx, o, new(v1beta1.BGPAdvertisementList), func(l *v1beta1.BGPAdvertisementList) {
			x.objects.BGPAdvertisements = append(x.objects.BGPAdvertisements, l.Items...)
		}, home)
	})
	configured("bgppeers.metallb.io", func() error {
		return pages(ctx, o, new(v1beta2.BGPPeerList), func(l *v1beta2.BGPPeerList) { x.objects.BGPPeers = append(x.objects.BGPPeers, l.Items...) }, home)
	})
	configured("bfdprofiles.metallb.io", func() error {
		return pages(ctx, o, new(v1beta1.BFDProfileList), func(l *v1beta1.BFDProfileList) {
			x.objects.BFDProfiles = append(x.objects.BFDProfiles, l.Items...)
		}, home)
	})
	configured("communities.metallb.io", func() error {
		return pages(ctx, o, new(v1beta1.CommunityList), func(l *v1beta1.CommunityList) {
			x.objects.Communities = append(x.objects.Communities, l.Items...)
		}, home)
	})
	configured("addresspolicies.fairlead.io", func() error {
		return pages(ctx, o, new(v1alpha1.AddressPolicyList), func(l *v1alpha1.AddressPolicyList) {
			x.objects.AddressPolicies = append(x.objects.AddressPolicies, l.Items...)
		}, home)
	})
	configured("addressreservations.fairlead.io", func() error {
		return pages(ctx, o, new(v1alpha1.AddressReservationList), func(l *v1alpha1.AddressReservationList) {
			x.objects.AddressReservations = append(x.objects.AddressReservations, l.Items...)
		}, home)
	})
	read(explain.Claims, "addressclaims.fairlead.io", func() error {
		return pages(ctx, o, new(v1alpha1.AddressClaimList), func(l *v1alpha1.AddressClaimList) {
			for i := range l.Items {
				if c, err := allocator.ClaimOf(&l.Items[i]); err == nil {
					x.claims = append(x.claims, c)
				}
			}
		}, home)
	})
	read(explain.Speakers, "speakerstates.fairlead.io", func() error {
		return pages(ctx, o, new(v1alpha1.SpeakerStateList), func(l *v1alpha1.SpeakerStateList) { x.speakers = append(x.speakers, l.Items...) }, home)
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return o.view(&x), nil
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

func (o Observation) endpoints(ctx context.Context, x *observed) error {
	var options []client.ListOption
	if o.Service.Name != "" {
		options = append(options, client.InNamespace(o.Service.Namespace))
	}
	return pages(ctx, o, new(discoveryv1.EndpointSliceList), func(l *discoveryv1.EndpointSliceList) {
		x.endpoints = append(x.endpoints, l.Items...)
	}, options...)
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
	v := &explain.View{Namespace: o.Namespace, Class: o.Class, Now: o.Now, Claims: x.claims, Gaps: x.gaps}
	slices.SortFunc(v.Gaps, func(a, b explain.Gap) int { return cmp.Compare(a.What, b.What) })
	v.Policy, v.Problems = policy.Compile(withoutSecrets(x.objects), nil)
	counts := countEndpoints(x.endpoints)
	for i := range x.services {
		v.Services = append(v.Services, o.service(&x.services[i], x, counts))
	}
	slices.SortFunc(v.Services, func(a, b explain.Service) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	for i := range x.speakers {
		v.Speakers = append(v.Speakers, explain.Speaker{Node: x.speakers[i].Name, State: x.speakers[i].Status})
	}
	v.Announcing = o.announcing(x, v.Policy)
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
	out := explain.Service{Service: allocator.ServiceOf(s, x.namespaces[s.Namespace]), Type: string(s.Spec.Type), Ours: ours(s, o.Class)}
	if s.Spec.LoadBalancerClass != nil {
		out.Class = *s.Spec.LoadBalancerClass
	}
	if c := meta.FindStatusCondition(s.Status.Conditions, ConditionAssigned); c != nil {
		out.Told = verdict.Verdict{Reason: verdict.Reason(c.Reason), Message: c.Message}
		out.ToldSince = c.LastTransitionTime.Time
	}
	out.Endpoints, out.Serving = counts[out.Key].all, counts[out.Key].serving
	return out
}

// count is a number of endpoints, and of those that serve.
type count struct{ all, serving int }

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
			}
		}
		of[k] = n
	}
	out := make(map[allocator.Key]count, len(of))
	for k, n := range of {
		before := out[k.Key]
		out[k.Key] = count{max(before.all, n.all), max(before.serving, n.serving)}
	}
	return out
}

// announcing puts together what the speakers see. A node counts as having a live speaker where that has said something of
// itself; where no speaker of the cluster has, all count.
func (o Observation) announcing(x *observed, p *policy.Policy) plan.View {
	published := publishedBy(x.speakers)
	v := plan.View{Policy: p, Services: announcedServices(p, o.Class, x.services, x.endpoints)}
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
