package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/policy"
)

// Validation answers the API server's question whether a configuration object may be changed as somebody wants
// (config/webhook says which objects). It asks the same functions as the controllers: what policy.Compile calls a
// problem is refused, what allocator.Decide would take from running Services is told. It decides by the cluster's
// objects alone, so every replica may answer.
type Validation struct {
	Client    client.Reader // cached: Services and Namespaces, which are many
	Uncached  client.Reader // configuration, which has to be the newest: one manifest may hold two pools that overlap
	Log       *slog.Logger
	Namespace string // of the configuration objects
	Class     string // of the Services served; "" for those without a class
	Protect   Protection
	Now       func() time.Time
	// ServiceCIDRs: the API server has objects of this kind.
	ServiceCIDRs bool
	// ServiceNodePorts is the API server's own range of node ports.
	ServiceNodePorts portrange.Range
}

// Handle answers one question.
func (v *Validation) Handle(ctx context.Context, req admission.Request) admission.Response {
	if req.SubResource != "" {
		return admission.Allowed("")
	}
	p, err := v.proposal(ctx, req)
	switch {
	case err != nil && req.Operation == admissionv1.Delete: // nothing that fails here may hang an uninstall
		v.Log.Error("checking a deletion", "kind", req.Kind.Kind, "object", req.Name, "err", err)
		return admission.Allowed("").WithWarnings("Fairlead could not check whether running Services need it: " + err.Error())
	case err != nil:
		v.Log.Error("checking a change", "kind", req.Kind.Kind, "object", req.Name, "err", err)
		return admission.Errored(http.StatusInternalServerError, err)
	}
	r := p.judge(v.Protect)
	if r.refusal != "" {
		v.Log.Info("refused: "+r.refusal, "operation", req.Operation, "kind", req.Kind.Kind, "object", req.Name, "user", req.UserInfo.Username)
		return admission.Denied(r.refusal)
	}
	return admission.Allowed("").WithWarnings(r.warnings...)
}

// proposal gathers what is to be known about a change. What is being deleted already, or is of a kind that policy does
// not compile, comes to nothing.
func (v *Validation) proposal(ctx context.Context, req admission.Request) (proposal, error) {
	p := proposal{operation: req.Operation, object: policy.Ref{Kind: req.Kind.Kind, Namespace: req.Namespace, Name: req.Name}, home: v.Namespace}
	raw := req.Object.Raw
	if req.Operation == admissionv1.Delete {
		raw = req.OldObject.Raw
	}
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &o); err != nil {
		return p, fmt.Errorf("reading the %s %q: %w", p.object.Kind, p.object.Name, err)
	}
	p.object.Name = o.Name // with generateName, the request has none
	p.allowDisruption = o.Annotations[AnnotationAllowDisruption] == "true"
	if p.object.Namespace != p.home || o.DeletionTimestamp != nil {
		return p, nil
	}
	if req.Operation == admissionv1.Delete {
		if ending, err := v.ending(ctx, req.Namespace); err != nil || ending {
			return p, err
		}
	}
	return p, v.foresee(ctx, &p, req.Object.Raw)
}

// ending says whether a namespace is being deleted.
func (v *Validation) ending(ctx context.Context, name string) (bool, error) {
	var n corev1.Namespace
	err := v.Uncached.Get(ctx, client.ObjectKey{Name: name}, &n)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return n.DeletionTimestamp != nil, err
}

// foresee compiles the configuration as it is and as it would be, and decides for all Services by both. Neither knows of
// values from before: a fault is told, not bridged.
func (v *Validation) foresee(ctx context.Context, p *proposal, candidate []byte) error {
	now, err := configurationObjects(ctx, v.Uncached, v.Namespace)
	if err != nil {
		return err
	}
	now.ServiceNodePorts = v.ServiceNodePorts
	then, ok, err := replaced(now, p.object, candidate)
	if err != nil || !ok {
		return err
	}
	networks, err := clusterNetworks(ctx, v.Client, v.ServiceCIDRs)
	if err != nil {
		return err
	}
	before, problems := policy.Compile(now, nil)
	p.before = append(problems, before.Overlaps(networks)...)
	after, problems := policy.Compile(then, nil)
	p.after = append(problems, after.Overlaps(networks)...)
	if v.Protect != ProtectOff && p.object.Kind == "NodePortRange" {
		p.consequences, err = v.portConsequences(ctx, before, after)
		return err
	}
	if v.Protect == ProtectOff || !slices.Contains([]string{"IPAddressPool", "AddressPolicy", "AddressReservation"}, p.object.Kind) {
		return nil // no address depends on it
	}
	p.consequences, err = v.consequences(ctx, before, after)
	return err
}

// running returns the Services, and the labels of their namespaces.
func (v *Validation) running(ctx context.Context) ([]corev1.Service, map[string]map[string]string, error) {
	var list corev1.ServiceList
	if err := v.Client.List(ctx, &list); err != nil {
		return nil, nil, fmt.Errorf("listing Services: %w", err)
	}
	namespaces, err := namespaceLabels(ctx, v.Client)
	return list.Items, namespaces, err
}

// consequences decides for the running Services by both policies. It counts as lost what a Service would keep for the
// time of grace only.
func (v *Validation) consequences(ctx context.Context, before, after *policy.Policy) ([]string, error) {
	list, namespaces, err := v.running(ctx)
	if err != nil {
		return nil, err
	}
	claims, _, _, err := addressClaims(ctx, v.Uncached, v.Namespace)
	if err != nil {
		return nil, err
	}
	view := allocator.View{Policy: before, Claims: claims, Now: v.Now()}
	for i := range list {
		if s := &list[i]; ours(s, v.Class) {
			view.Services = append(view.Services, allocator.ServiceOf(s, namespaces[s.Namespace]))
		}
	}
	old := allocator.Decide(view).Decisions
	view.Policy = after
	return Consequences(view.Services, old, allocator.Decide(view).Decisions), nil
}

// portConsequences says which Services would lose node ports that they have, be it after a time of grace.
func (v *Validation) portConsequences(ctx context.Context, before, after *policy.Policy) ([]string, error) {
	list, namespaces, err := v.running(ctx)
	if err != nil {
		return nil, err
	}
	services := make([]allocator.NodePortService, len(list))
	for i := range list {
		services[i] = nodePortServiceOf(&list[i], namespaces[list[i].Namespace], v.Class)
	}
	old := allocator.DecideNodePorts(allocator.NodePortView{Policy: before, Services: services, Now: v.Now()})
	then := allocator.DecideNodePorts(allocator.NodePortView{Policy: after, Services: services, Now: v.Now()})
	return PortConsequences(services, old.Decisions, then.Decisions), nil
}

// replaced returns the objects with the candidate in the place of the one of its kind and name, or without that one
// where the candidate is empty. It returns false for a kind that policy does not compile.
func replaced(o policy.Objects, ref policy.Ref, candidate []byte) (policy.Objects, bool, error) {
	var err error
	switch ref.Kind {
	case "IPAddressPool":
		o.Pools, err = replace(o.Pools, ref, candidate)
	case "L2Advertisement":
		o.L2Advertisements, err = replace(o.L2Advertisements, ref, candidate)
	case "AddressPolicy":
		o.AddressPolicies, err = replace(o.AddressPolicies, ref, candidate)
	case "AddressReservation":
		o.AddressReservations, err = replace(o.AddressReservations, ref, candidate)
	case "NodePortRange":
		o.NodePortRanges, err = replace(o.NodePortRanges, ref, candidate)
	case "BGPPeer":
		o.BGPPeers, err = replace(o.BGPPeers, ref, candidate)
	case "BGPAdvertisement":
		o.BGPAdvertisements, err = replace(o.BGPAdvertisements, ref, candidate)
	case "BFDProfile":
		o.BFDProfiles, err = replace(o.BFDProfiles, ref, candidate)
	case "Community":
		o.Communities, err = replace(o.Communities, ref, candidate)
	default:
		return o, false, nil
	}
	return o, true, err
}

// replace returns the list with the candidate in the place of the one object, or without it.
func replace[T any, P interface {
	*T
	client.Object
}](list []T, ref policy.Ref, candidate []byte) ([]T, error) {
	out := slices.DeleteFunc(slices.Clone(list), func(o T) bool { return P(&o).GetName() == ref.Name })
	if len(candidate) == 0 {
		return out, nil
	}
	var o T
	if err := json.Unmarshal(candidate, &o); err != nil {
		return nil, fmt.Errorf("reading the %s: %w", ref, err)
	}
	if len(out) == len(list) { // it is created now: the youngest, though the API server counts in whole seconds
		P(&o).SetCreationTimestamp(metav1.Unix(math.MaxInt32, 0))
	}
	return append(out, o), nil
}
