package controllers

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// NewScheme returns the scheme of every kind that Fairlead reads or writes.
func NewScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, coordinationv1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme, admissionregistrationv1.AddToScheme, apiextensionsv1.AddToScheme,
		v1beta1.AddToScheme, v1beta2.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// cacheOptions make informers that keep only what is used: configuration objects of one namespace, and of Services,
// EndpointSlices, Nodes and Namespaces the few fields that decide. What they return must not be changed.
func cacheOptions(namespace string) cache.Options {
	here := map[string]cache.Config{namespace: {}}
	shared := true
	return cache.Options{
		DefaultTransform:             cache.TransformStripManagedFields(),
		DefaultUnsafeDisableDeepCopy: &shared,
		ByObject: map[client.Object]cache.ByObject{
			&v1beta1.IPAddressPool{}:       {Namespaces: here},
			&v1beta1.L2Advertisement{}:     {Namespaces: here},
			&v1beta1.BGPAdvertisement{}:    {Namespaces: here},
			&v1beta1.BFDProfile{}:          {Namespaces: here},
			&v1beta1.Community{}:           {Namespaces: here},
			&v1beta2.BGPPeer{}:             {Namespaces: here},
			&v1alpha1.AddressPolicy{}:      {Namespaces: here},
			&v1alpha1.AddressReservation{}: {Namespaces: here},
			&v1alpha1.AddressClaim{}:       {Namespaces: here},
			&v1alpha1.NodePortRange{}:      {Namespaces: here},
			&v1alpha1.ProgrammerState{}:    {Namespaces: here},
			&v1alpha1.SpeakerState{}:       {Namespaces: here},
			&corev1.Service{}:              {Transform: stripService},
			&discoveryv1.EndpointSlice{}:   {Transform: stripEndpointSlice},
			&corev1.Node{}:                 {Transform: stripNode},
			&corev1.Namespace{}:            {Transform: stripNamespace},
		},
	}
}

// WithPasswords adds to a manager's options the Secrets that BGPPeers may name. No others are read.
func WithPasswords(o *manager.Options, namespace string) {
	right := fields.OneTermEqualSelector("type", string(corev1.SecretTypeBasicAuth))
	o.Cache.ByObject[&corev1.Secret{}] = cache.ByObject{Namespaces: map[string]cache.Config{namespace: {FieldSelector: right}}, Transform: stripSecret}
}

// stripSecret keeps the password.
func stripSecret(in any) (any, error) {
	s, ok := in.(*corev1.Secret)
	if !ok {
		return in, nil
	}
	s.ManagedFields, s.OwnerReferences, s.Annotations = nil, nil, nil
	s.Data = map[string][]byte{corev1.BasicAuthPasswordKey: s.Data[corev1.BasicAuthPasswordKey]}
	return s, nil
}

// watch makes informers of the kinds, which call a function (or none) at every change, and waits until they have shown
// everything once. It is for after the manager has started: a manager that has informers before, and is stopped while they
// are not in sync, never ends (controller-runtime 0.25).
func watch(ctx context.Context, c cache.Cache, kinds []client.Object, changed func()) error {
	var synced []toolscache.InformerSynced
	for _, o := range kinds {
		informer, err := c.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", o, err)
		}
		if changed != nil {
			if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
				AddFunc:    func(any) { changed() },
				UpdateFunc: func(any, any) { changed() },
				DeleteFunc: func(any) { changed() },
			}); err != nil {
				return fmt.Errorf("watching %T: %w", o, err)
			}
		}
		synced = append(synced, informer.HasSynced)
	}
	toolscache.WaitForCacheSync(ctx.Done(), synced...)
	return ctx.Err()
}

// stripService drops what neither allocation nor announcing reads. What is left of annotations are the load
// balancer's own.
func stripService(in any) (any, error) {
	s, ok := in.(*corev1.Service)
	if !ok {
		return in, nil
	}
	s.ManagedFields = nil
	s.OwnerReferences = nil
	for name := range s.Annotations {
		if !strings.HasPrefix(name, "metallb.io/") && !strings.HasPrefix(name, "metallb.universe.tf/") && !strings.HasPrefix(name, "fairlead.io/") {
			delete(s.Annotations, name)
		}
	}
	if s.Spec.ClusterIP != corev1.ClusterIPNone {
		s.Spec.ClusterIP = ""
	}
	s.Spec.ClusterIPs, s.Spec.ExternalIPs, s.Spec.LoadBalancerSourceRanges = nil, nil, nil
	s.Spec.SessionAffinityConfig = nil
	return s, nil
}

// stripEndpointSlice keeps of each endpoint its node and whether it serves.
func stripEndpointSlice(in any) (any, error) {
	s, ok := in.(*discoveryv1.EndpointSlice)
	if !ok {
		return in, nil
	}
	s.ManagedFields, s.OwnerReferences, s.Annotations, s.Ports = nil, nil, nil, nil
	s.Labels = map[string]string{discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName]}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		s.Endpoints[i] = discoveryv1.Endpoint{NodeName: e.NodeName, Conditions: e.Conditions}
	}
	return s, nil
}

// stripNode keeps labels, taints, conditions, addresses and pod CIDRs.
func stripNode(in any) (any, error) {
	n, ok := in.(*corev1.Node)
	if !ok {
		return in, nil
	}
	n.ManagedFields, n.Annotations = nil, nil
	n.Spec = corev1.NodeSpec{Taints: n.Spec.Taints, Unschedulable: n.Spec.Unschedulable, PodCIDRs: n.Spec.PodCIDRs}
	conditions := n.Status.Conditions[:0]
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady || c.Type == corev1.NodeNetworkUnavailable {
			kept := corev1.NodeCondition{Type: c.Type, Status: c.Status}
			if strings.Contains(c.Message, shuttingDown) {
				kept.Message = shuttingDown
			}
			conditions = append(conditions, kept)
		}
	}
	n.Status = corev1.NodeStatus{Conditions: conditions, Addresses: n.Status.Addresses, NodeInfo: corev1.NodeSystemInfo{BootID: n.Status.NodeInfo.BootID}}
	return n, nil
}

// stripNamespace keeps the labels.
func stripNamespace(in any) (any, error) {
	n, ok := in.(*corev1.Namespace)
	if !ok {
		return in, nil
	}
	n.ManagedFields, n.Annotations, n.Spec, n.Status = nil, nil, corev1.NamespaceSpec{}, corev1.NamespaceStatus{}
	return n, nil
}

// stripStatusOf returns what keeps of a status object of the node, of which there may be thousands, its name and what it says.
func stripStatusOf(node string) toolscache.TransformFunc {
	own := map[string]string{v1beta1.LabelNode: node}
	return func(in any) (any, error) {
		o, ok := in.(client.Object)
		if !ok || o.GetLabels()[v1beta1.LabelNode] != node {
			return in, nil
		}
		o.SetManagedFields(nil)
		o.SetOwnerReferences(nil)
		o.SetAnnotations(nil)
		o.SetLabels(own)
		return o, nil
	}
}

// ours says whether a Service is a load balancer of the class that this installation serves; "" stands for Services
// that name no class.
func ours(s *corev1.Service, class string) bool {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return false
	}
	if s.Spec.LoadBalancerClass == nil {
		return class == ""
	}
	return class != "" && *s.Spec.LoadBalancerClass == class
}

// portsOurs says whether this installation gives a Service its node ports.
func portsOurs(s *corev1.Service, class string) bool {
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		return ours(s, class)
	}
	return s.Annotations[allocator.AnnotationClass] == class
}

// nodePortServiceOf reads what decides on a Service's node ports. Of one that is another installation's only its nodePorts
// count, which are taken.
func nodePortServiceOf(s *corev1.Service, namespaceLabels map[string]string, class string) allocator.NodePortService {
	out := allocator.NodePortServiceOf(s, namespaceLabels)
	if !portsOurs(s, class) {
		out.Asked, out.Invalid, out.Held = nil, "", nil
	}
	return out
}

// ManagerOptions returns what every role's manager has in common.
func ManagerOptions(namespace string) (manager.Options, error) {
	scheme, err := NewScheme()
	if err != nil {
		return manager.Options{}, fmt.Errorf("putting together the kinds that Fairlead knows: %w", err)
	}
	return manager.Options{Scheme: scheme, Cache: cacheOptions(namespace)}, nil
}
