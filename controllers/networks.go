package controllers

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/fairlead-lb/fairlead/policy"
)

// clusterNetworks reads what addresses the cluster itself uses, as far as its objects tell.
func clusterNetworks(ctx context.Context, c client.Reader, serviceCIDRs bool) ([]policy.Network, error) {
	var out []policy.Network
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("listing Nodes: %w", err)
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		of := fmt.Sprintf("Node %q", n.Name)
		for _, a := range n.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && addr.Zone() == "" { // others are names
				addr = addr.Unmap()
				out = append(out, policy.Network{Range: policy.Range{From: addr, To: addr}, Kind: policy.NodeAddress, Of: of})
			}
		}
		out = appendCIDRs(out, n.Spec.PodCIDRs, policy.PodCIDR, of)
	}
	if !serviceCIDRs {
		return unique(out), nil
	}
	var services networkingv1.ServiceCIDRList
	if err := c.List(ctx, &services); err != nil {
		return nil, fmt.Errorf("listing ServiceCIDRs: %w", err)
	}
	for i := range services.Items {
		out = appendCIDRs(out, services.Items[i].Spec.CIDRs, policy.ServiceCIDR, fmt.Sprintf("ServiceCIDR %q", services.Items[i].Name))
	}
	return unique(out), nil
}

func appendCIDRs(out []policy.Network, cidrs []string, kind policy.NetworkKind, of string) []policy.Network {
	for _, text := range cidrs {
		if r, err := policy.ParseRange(text); err == nil { // the API server checked them
			out = append(out, policy.Network{Range: r, Kind: kind, Of: of})
		}
	}
	return out
}

// unique drops repetitions: a node's InternalIP is often its ExternalIP too.
func unique(networks []policy.Network) []policy.Network {
	var out []policy.Network
	for _, n := range networks {
		if !slices.Contains(out[max(0, len(out)-4):], n) {
			out = append(out, n)
		}
	}
	return out
}

// servesServiceCIDRs says whether the API server has ServiceCIDRs, as Kubernetes 1.33 and later have.
func servesServiceCIDRs(m meta.RESTMapper) (bool, error) {
	_, err := m.RESTMapping(networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR").GroupKind(), networkingv1.SchemeGroupVersion.Version)
	switch {
	case meta.IsNoMatchError(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("asking whether there are ServiceCIDRs: %w", err)
	}
	return true, nil
}

// nodesChange lets a Node's change pass where its networks do, or whether it may announce, or it started anew: it reports itself every few minutes.
func nodesChange() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e crevent.UpdateEvent) bool {
		a, ok1 := e.ObjectOld.(*corev1.Node)
		b, ok2 := e.ObjectNew.(*corev1.Node)
		return !ok1 || !ok2 || !slices.Equal(a.Status.Addresses, b.Status.Addresses) || !slices.Equal(a.Spec.PodCIDRs, b.Spec.PodCIDRs) ||
			!maps.Equal(a.Labels, b.Labels) || able(a) != able(b) || a.Status.NodeInfo.BootID != b.Status.NodeInfo.BootID
	}}
}
