package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// full is an object's metadata with every field that an API server sets.
func full(annotations map[string]string) metav1.ObjectMeta {
	now := metav1.NewTime(now)
	return metav1.ObjectMeta{
		Name: "n", GenerateName: "g", Namespace: "ns", UID: "u", ResourceVersion: "7", Generation: 3, CreationTimestamp: now, DeletionTimestamp: &now,
		Labels: map[string]string{"l": "1", discoveryv1.LabelServiceName: "huazi"}, Annotations: annotations,
		OwnerReferences: []metav1.OwnerReference{{Name: "o"}}, Finalizers: []string{"f"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}
}

// TestStrip lists for each kind what the informers keep: all that the program reads, and as little else as is simple.
func TestStrip(t *testing.T) {
	yes, node, class, policy := true, "n1", "example.com/class", corev1.IPFamilyPolicyPreferDualStack
	kept := map[string]string{"metallb.io/address-pool": "p", "metallb.universe.tf/loadBalancerIPs": "1", "fairlead.io/assigned-at": "2"}
	annotations := map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "example.com/metallb.io/x": "3"}
	for k, v := range kept {
		annotations[k] = v
	}
	meta := full(annotations)
	strippedMeta := meta
	strippedMeta.ManagedFields, strippedMeta.OwnerReferences, strippedMeta.Annotations = nil, nil, kept
	bare := meta
	bare.ManagedFields, bare.Annotations = nil, nil
	slice := full(annotations)
	slice.ManagedFields, slice.Annotations, slice.OwnerReferences = nil, nil, nil
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "huazi"}

	ofNode := full(annotations)
	ofNode.Labels = map[string]string{v1beta1.LabelNode: "n1", v1beta1.LabelServiceName: "huazi", v1beta1.LabelServiceNamespace: "default"}
	ofNodeKept := ofNode
	ofNodeKept.Labels = map[string]string{v1beta1.LabelNode: "n1"}
	ofNodeKept.ManagedFields, ofNodeKept.OwnerReferences, ofNodeKept.Annotations = nil, nil, nil
	says := v1beta1.ServiceL2StatusStatus{Node: "n1", ServiceName: "huazi", ServiceNamespace: "default", Interfaces: []v1beta1.InterfaceInfo{{Name: "eth0"}}}

	status := corev1.ServiceStatus{
		LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "172.25.254.50"}}},
		Conditions:   []metav1.Condition{{Type: ConditionAssigned, Message: "m"}, {Type: "example.com/Other"}},
	}
	spec := corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class, LoadBalancerIP: "172.25.254.50", Selector: map[string]string{"app": "huazi"},
		Ports:      []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 8080}},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, IPFamilyPolicy: &policy,
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
	}
	before := spec
	before.ClusterIP, before.ClusterIPs, before.ExternalIPs, before.LoadBalancerSourceRanges = "10.0.0.1", []string{"10.0.0.1"}, []string{"x"}, []string{"y"}
	before.SessionAffinityConfig = &corev1.SessionAffinityConfig{}

	for name, c := range map[string]struct {
		strip    toolscache.TransformFunc
		in, want any
	}{
		"Service": {stripService,
			&corev1.Service{ObjectMeta: *meta.DeepCopy(), Spec: before, Status: status},
			&corev1.Service{ObjectMeta: strippedMeta, Spec: spec, Status: status},
		},
		"EndpointSlice": {stripEndpointSlice,
			&discoveryv1.EndpointSlice{
				ObjectMeta: *meta.DeepCopy(), AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{}},
				Endpoints: []discoveryv1.Endpoint{{
					Addresses: []string{"10.1.0.1"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &yes},
					Hostname: &node, Zone: &node, TargetRef: &corev1.ObjectReference{}, DeprecatedTopology: map[string]string{"a": "b"}, Hints: &discoveryv1.EndpointHints{},
				}},
			},
			&discoveryv1.EndpointSlice{
				ObjectMeta: slice, AddressType: discoveryv1.AddressTypeIPv4,
				Endpoints: []discoveryv1.Endpoint{{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &yes}}},
			},
		},
		"Node": {stripNode,
			&corev1.Node{
				ObjectMeta: *meta.DeepCopy(),
				Spec:       corev1.NodeSpec{PodCIDR: "10.1.0.0/24", ProviderID: "p", Unschedulable: true, Taints: []corev1.Taint{{Key: corev1.TaintNodeOutOfService}}},
				Status: corev1.NodeStatus{
					Conditions: []corev1.NodeCondition{
						{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
						{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Message: "m", LastHeartbeatTime: metav1.NewTime(now)},
						{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "r"},
					},
					Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.77.0.10"}},
					Images:    []corev1.ContainerImage{{}}, Capacity: corev1.ResourceList{"cpu": {}}, NodeInfo: corev1.NodeSystemInfo{KernelVersion: "6", BootID: "b"},
				},
			},
			&corev1.Node{
				ObjectMeta: bare,
				Spec:       corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{{Key: corev1.TaintNodeOutOfService}}},
				Status: corev1.NodeStatus{
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse}},
					Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.77.0.10"}},
					NodeInfo:   corev1.NodeSystemInfo{BootID: "b"},
				},
			},
		},
		"a status of the node's": {stripStatusOf("n1"),
			&v1beta1.ServiceL2Status{ObjectMeta: *ofNode.DeepCopy(), Status: says},
			&v1beta1.ServiceL2Status{ObjectMeta: ofNodeKept, Status: says},
		},
		"a status of another node": {stripStatusOf("n2"),
			&v1beta1.ServiceL2Status{ObjectMeta: ofNode, Status: says},
			&v1beta1.ServiceL2Status{ObjectMeta: ofNode, Status: says},
		},
		"Namespace": {stripNamespace,
			&corev1.Namespace{ObjectMeta: *meta.DeepCopy(), Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}, Status: corev1.NamespaceStatus{Phase: "Active"}},
			&corev1.Namespace{ObjectMeta: bare},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.strip(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got, err = c.strip(got); err != nil || cmp.Diff(c.want, got) != "" {
				t.Error("the second time it changes something") // client-go may call it again
			}
			gone := toolscache.DeletedFinalStateUnknown{Key: "ns/n"}
			if got, err := c.strip(gone); err != nil || got != any(gone) {
				t.Errorf("makes %v, %v of an object that is gone", got, err)
			}
		})
	}
}

func TestOurs(t *testing.T) {
	class := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		kind  corev1.ServiceType
		of    *string
		class string
		want  bool
	}{
		"no class, we have none":        {corev1.ServiceTypeLoadBalancer, nil, "", true},
		"no class, we have one":         {corev1.ServiceTypeLoadBalancer, nil, "example.com/a", false},
		"a class, we have none":         {corev1.ServiceTypeLoadBalancer, class("example.com/a"), "", false},
		"a class, it is ours":           {corev1.ServiceTypeLoadBalancer, class("example.com/a"), "example.com/a", true},
		"a class, it is not ours":       {corev1.ServiceTypeLoadBalancer, class("example.com/b"), "example.com/a", false},
		"an empty class, we have none":  {corev1.ServiceTypeLoadBalancer, class(""), "", false},
		"ClusterIP":                     {corev1.ServiceTypeClusterIP, nil, "", false},
		"NodePort with a class of ours": {corev1.ServiceTypeNodePort, class("example.com/a"), "example.com/a", false},
		"ExternalName":                  {corev1.ServiceTypeExternalName, nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ours(&corev1.Service{Spec: corev1.ServiceSpec{Type: c.kind, LoadBalancerClass: c.of}}, c.class); got != c.want {
				t.Errorf("ours: %t", got)
			}
		})
	}
}
