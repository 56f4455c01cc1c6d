package controllers

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/policy"
)

// compilePolicy reads the configuration objects of the namespace and compiles them.
func compilePolicy(ctx context.Context, c client.Reader, namespace string, last *policy.Policy) (*policy.Policy, []policy.Problem, error) {
	var pools v1beta1.IPAddressPoolList
	if err := c.List(ctx, &pools, client.InNamespace(namespace)); err != nil {
		return nil, nil, fmt.Errorf("listing IPAddressPools: %w", err)
	}
	var ads v1beta1.L2AdvertisementList
	if err := c.List(ctx, &ads, client.InNamespace(namespace)); err != nil {
		return nil, nil, fmt.Errorf("listing L2Advertisements: %w", err)
	}
	p, problems := policy.Compile(policy.Objects{Pools: pools.Items, L2Advertisements: ads.Items}, last)
	return p, problems, nil
}

// namespaceLabels returns the labels of every namespace by its name.
func namespaceLabels(ctx context.Context, c client.Reader) (map[string]map[string]string, error) {
	var list corev1.NamespaceList
	if err := c.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing Namespaces: %w", err)
	}
	out := make(map[string]map[string]string, len(list.Items))
	for i := range list.Items {
		out[list.Items[i].Name] = list.Items[i].Labels
	}
	return out, nil
}

// problemLog remembers which problems were told, so that each is logged and told as an Event once, not at every pass.
type problemLog struct{ told map[policy.Problem]struct{} }

func (p *problemLog) tell(problems []policy.Problem, log *slog.Logger, recorder events.EventRecorder) {
	now := make(map[policy.Problem]struct{}, len(problems))
	for _, x := range problems {
		now[x] = struct{}{}
		if _, ok := p.told[x]; ok {
			continue
		}
		log.Warn(x.Message, "kind", x.Object.Kind, "object", x.Object.Name, "reason", x.Reason)
		recorder.Eventf(reference(x.Object), nil, corev1.EventTypeWarning, string(x.Reason), "Compile", "%s", x.Message)
	}
	for x := range p.told {
		if _, ok := now[x]; !ok {
			log.Info("no longer a problem: "+x.Message, "kind", x.Object.Kind, "object", x.Object.Name)
		}
	}
	p.told = now
}

// reference makes of a configuration object's name what an Event can be about.
func reference(r policy.Ref) runtime.Object {
	return &corev1.ObjectReference{
		APIVersion: v1beta1.GroupVersion.String(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, UID: types.UID(r.UID),
	}
}
