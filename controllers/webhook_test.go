package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

const home = "metallb-system"

func meta1(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: home, Name: name, UID: types.UID(name), CreationTimestamp: metav1.Unix(1000, 0)}
}

func younger(m metav1.ObjectMeta) metav1.ObjectMeta {
	m.CreationTimestamp = metav1.Unix(2000, 0)
	return m
}

func allowing(m metav1.ObjectMeta) metav1.ObjectMeta {
	m.Annotations = map[string]string{AnnotationAllowDisruption: "true"}
	return m
}

func poolOf(m metav1.ObjectMeta, addresses ...string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{TypeMeta: metav1.TypeMeta{Kind: "IPAddressPool"}, ObjectMeta: m, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses}}
}

func running(name, address string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Annotations: map[string]string{allocator.AnnotationAllocatedFrom: "first-pool"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
		Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: address}}}},
	}
}

// TestValidation is the webhooks' specification: what is refused, in which words, and what users are warned of.
func TestValidation(t *testing.T) {
	yes := metav1.Now()
	first := poolOf(meta1("first-pool"), "172.25.254.50-172.25.254.59")
	notLabel := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	peer := &v1beta2.BGPPeer{TypeMeta: metav1.TypeMeta{Kind: "BGPPeer"}, ObjectMeta: meta1("peer"), Spec: v1beta2.BGPPeerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: "192.0.2.1"}}
	guarded, signed := peer.Spec, peer.Spec
	guarded.BFDProfile, signed.PasswordSecret.Name = "fast", "key"
	fast := &v1beta1.BFDProfile{TypeMeta: metav1.TypeMeta{Kind: "BFDProfile"}, ObjectMeta: meta1("fast")}
	one, short := uint32(1), int32(24)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24"}}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "172.25.254.50"}, {Type: corev1.NodeExternalIP, Address: "172.25.254.50"}, {Type: corev1.NodeHostName, Address: "n1"},
	}}}
	portly := inner("portly", "http=33333")
	holding("http=33333")(portly)
	const use = `IPAddressPool "first-pool" is in use, and deleting it would disturb running Services: Service default/huazi loses 172.25.254.50: ` +
		`delete or move them first, or set the annotation fairlead.io/allow-disruption: "true" on the IPAddressPool`
	for name, c := range map[string]struct {
		world    []client.Object
		old, new client.Object // nil: the object is created or deleted
		protect  Protection
		refusal  string   // all of it; "" for none
		warnings []string // all of them
		broken   bool     // no list can be read
	}{
		"a good pool":                {new: first},
		"no addresses":               {new: poolOf(meta1("p")), refusal: `IPAddressPool "p" has no addresses: list at least one CIDR or range in spec.addresses`},
		"a CIDR that is none":        {new: poolOf(meta1("p"), "172.25.254.0/33"), refusal: `IPAddressPool "p", spec.addresses[0]: "172.25.254.0/33" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20`},
		"a range that ends":          {new: poolOf(meta1("p"), "172.25.254.9-172.25.254.1"), refusal: `IPAddressPool "p", spec.addresses[0]: range "172.25.254.9-172.25.254.1" ends before it starts`},
		"mixed families":             {new: poolOf(meta1("p"), "172.25.254.9-::1"), refusal: `IPAddressPool "p", spec.addresses[0]: range "172.25.254.9-::1" mixes IPv4 and IPv6`},
		"every fault is told":        {new: poolOf(meta1("p"), "a", "b-c"), refusal: `IPAddressPool "p", spec.addresses[0]: "a" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20; IPAddressPool "p", spec.addresses[1]: "b" is not an IP address`},
		"overlap within":             {new: poolOf(meta1("p"), "172.25.254.1-172.25.254.3", "172.25.254.3/32"), refusal: `IPAddressPool "p" lists 172.25.254.3 twice: remove it from 172.25.254.3`},
		"overlap with another":       {world: []client.Object{first}, new: poolOf(younger(meta1("p")), "172.25.254.59-172.25.254.60"), refusal: `IPAddressPool "p": range 172.25.254.59-172.25.254.60 overlaps the older pool "first-pool", which keeps 172.25.254.59: remove that from one of the two`},
		"created in the same second": {world: []client.Object{first}, new: poolOf(meta1("a"), "172.25.254.59-172.25.254.60"), refusal: `IPAddressPool "a": range 172.25.254.59-172.25.254.60 overlaps the older pool "first-pool", which keeps 172.25.254.59: remove that from one of the two`},
		"overlap with a younger one": {
			world: []client.Object{first, poolOf(younger(meta1("p")), "172.25.254.60/32")}, old: first, new: poolOf(meta1("first-pool"), "172.25.254.50-172.25.254.60"),
			refusal: `IPAddressPool "p": range 172.25.254.60 overlaps the older pool "first-pool", which keeps 172.25.254.60: remove that from one of the two`,
		},
		"an overlap gets smaller": {
			world: []client.Object{first, poolOf(younger(meta1("p")), "172.25.254.58-172.25.254.60")}, old: first, new: poolOf(meta1("first-pool"), "172.25.254.50-172.25.254.58"),
		},
		"another object is bad":               {world: []client.Object{poolOf(meta1("bad"), "x")}, new: first},
		"a bad object's label changes":        {world: []client.Object{poolOf(meta1("bad"), "x")}, old: poolOf(meta1("bad"), "x"), new: poolOf(allowing(meta1("bad")), "x"), warnings: []string{`IPAddressPool "bad", spec.addresses[0]: "x" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20`}},
		"a bad object gets worse":             {world: []client.Object{poolOf(meta1("bad"), "x")}, old: poolOf(meta1("bad"), "x"), new: poolOf(meta1("bad"), "y"), refusal: `IPAddressPool "bad", spec.addresses[0]: "y" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20`},
		"a bad object is mended":              {world: []client.Object{poolOf(meta1("bad"), "x")}, old: poolOf(meta1("bad"), "x"), new: poolOf(meta1("bad"), "172.25.254.1/32")},
		"a selector of namespaces":            {new: &v1beta1.IPAddressPool{TypeMeta: metav1.TypeMeta{Kind: "IPAddressPool"}, ObjectMeta: meta1("p"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"172.25.254.1/32"}, AllocateTo: &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{notLabel}}}}, refusal: `IPAddressPool "p", spec.serviceAllocation.namespaceSelectors[0]: "Near" is not a valid label selector operator`},
		"an advertisement's selector":         {new: &v1beta1.L2Advertisement{TypeMeta: metav1.TypeMeta{Kind: "L2Advertisement"}, ObjectMeta: meta1("a"), Spec: v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{notLabel}}}, refusal: `L2Advertisement "a", spec.nodeSelectors[0]: "Near" is not a valid label selector operator`},
		"an advertisement before its pool":    {new: &v1beta1.L2Advertisement{TypeMeta: metav1.TypeMeta{Kind: "L2Advertisement"}, ObjectMeta: meta1("a"), Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"p"}}}, warnings: []string{`L2Advertisement "a" names pool "p", which does not exist: create it or correct the name`}},
		"an AddressPolicy's delay":            {new: &v1alpha1.AddressPolicy{TypeMeta: metav1.TypeMeta{Kind: "AddressPolicy"}, ObjectMeta: meta1("a"), Spec: v1alpha1.AddressPolicySpec{ReuseDelay: &metav1.Duration{Duration: -time.Second}}}, refusal: `AddressPolicy "a", spec.reuseDelay: -1s is negative`},
		"an AddressReservation of nothing":    {new: &v1alpha1.AddressReservation{TypeMeta: metav1.TypeMeta{Kind: "AddressReservation"}, ObjectMeta: meta1("a"), Spec: v1alpha1.AddressReservationSpec{Service: &v1alpha1.ServiceReference{Namespace: "default", Name: "huazi"}}}, refusal: `AddressReservation "a": set either spec.address or spec.pool`},
		"a good BGPPeer":                      {new: peer},
		"a BGPPeer without an AS":             {new: &v1beta2.BGPPeer{TypeMeta: metav1.TypeMeta{Kind: "BGPPeer"}, ObjectMeta: meta1("p"), Spec: v1beta2.BGPPeerSpec{PeerASN: 64501, PeerAddress: "192.0.2.1"}}, refusal: `BGPPeer "p", spec.myASN: set the AS number of this end, 1 to 4294967295`},
		"a second session":                    {world: []client.Object{peer}, new: &v1beta2.BGPPeer{TypeMeta: metav1.TypeMeta{Kind: "BGPPeer"}, ObjectMeta: younger(meta1("q")), Spec: peer.Spec}, refusal: `BGPPeer "q" has the same neighbor 192.0.2.1 as the older BGPPeer "peer", whose session alone is held where both select a node: remove one of the two, or keep their spec.nodeSelectors apart`},
		"a peer before its profile":           {new: &v1beta2.BGPPeer{TypeMeta: metav1.TypeMeta{Kind: "BGPPeer"}, ObjectMeta: meta1("p"), Spec: guarded}, warnings: []string{`BGPPeer "p" names BFDProfile "fast", which does not exist: create it or correct spec.bfdProfile`}},
		"a peer's Secret is not ours to read": {new: &v1beta2.BGPPeer{TypeMeta: metav1.TypeMeta{Kind: "BGPPeer"}, ObjectMeta: meta1("p"), Spec: signed}},
		"a BFDProfile out of bounds":          {new: &v1beta1.BFDProfile{TypeMeta: metav1.TypeMeta{Kind: "BFDProfile"}, ObjectMeta: meta1("b"), Spec: v1beta1.BFDProfileSpec{DetectMultiplier: &one}}, refusal: `BFDProfile "b", spec.detectMultiplier: 1 is not from 2 to 255`},
		"a BFDProfile in use is deleted":      {world: []client.Object{fast, &v1beta2.BGPPeer{ObjectMeta: meta1("p"), Spec: guarded}}, old: fast, refusal: `BFDProfile "fast" is in use, and would be missing: BGPPeer "p" names BFDProfile "fast", which does not exist: create it or correct spec.bfdProfile`},
		"a BFDProfile in use may go":          {world: []client.Object{fast, &v1beta2.BGPPeer{ObjectMeta: meta1("p"), Spec: guarded}}, old: &v1beta1.BFDProfile{TypeMeta: fast.TypeMeta, ObjectMeta: allowing(meta1("fast"))}, warnings: []string{`BGPPeer "p" names BFDProfile "fast", which does not exist: create it or correct spec.bfdProfile`}},
		"a BFDProfile that nobody names":      {world: []client.Object{fast, peer}, old: fast},
		"an aggregate with serviceSelectors":  {new: &v1beta1.BGPAdvertisement{TypeMeta: metav1.TypeMeta{Kind: "BGPAdvertisement"}, ObjectMeta: meta1("a"), Spec: v1beta1.BGPAdvertisementSpec{AggregationLength: &short, ServiceSelectors: []metav1.LabelSelector{{}}}}, refusal: `BGPAdvertisement "a": spec.serviceSelectors needs a route for each address: leave aggregationLength at 32 and aggregationLengthV6 at 128`},
		"a community that is none":            {new: &v1beta1.Community{TypeMeta: metav1.TypeMeta{Kind: "Community"}, ObjectMeta: meta1("c"), Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "x", Value: "1:99999"}}}}, refusal: `Community "c", spec.communities[0].value: "1:99999" is not a community: want NUMBER:NUMBER, each from 0 to 65535, or large:NUMBER:NUMBER:NUMBER`},
		"a pool over a node":                  {world: []client.Object{node}, new: first, warnings: []string{`IPAddressPool "first-pool" has addresses that are in use otherwise: 172.25.254.50 is the address of a node (Node "n1"): take them out of spec.addresses`}},
		"a pool over pods and Services": {world: []client.Object{node, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16", "fd00:10:96::/112"}}}}, new: poolOf(meta1("p"), "10.96.255.0/24", "10.244.1.0/25"), warnings: []string{
			`IPAddressPool "p" has addresses that are in use otherwise: 10.244.1.0-10.244.1.255 is a node's pod CIDR (Node "n1"): take them out of spec.addresses`,
			`IPAddressPool "p" has addresses that are in use otherwise: 10.96.0.0-10.96.255.255 is a Service CIDR (ServiceCIDR "kubernetes"): take them out of spec.addresses`}},
		"another pool is over a node":          {world: []client.Object{node, first}, new: poolOf(meta1("p"), "192.0.2.0/24")},
		"created elsewhere":                    {new: poolOf(metav1.ObjectMeta{Namespace: "default", Name: "p"}, "x"), refusal: `IPAddressPool "p", metadata.namespace: Fairlead reads its configuration in namespace "metallb-system" only: create it there, not in "default"`},
		"a BGP kind created elsewhere":         {new: &v1beta2.BGPPeer{TypeMeta: metav1.TypeMeta{Kind: "BGPPeer"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}, refusal: `BGPPeer "p", metadata.namespace: Fairlead reads its configuration in namespace "metallb-system" only: create it there, not in "default"`},
		"changed elsewhere":                    {old: poolOf(metav1.ObjectMeta{Namespace: "default", Name: "p"}, "x"), new: poolOf(metav1.ObjectMeta{Namespace: "default", Name: "p"}, "y"), warnings: []string{`IPAddressPool "p" in namespace "default" has no effect: Fairlead reads its configuration in namespace "metallb-system" only`}},
		"deleted elsewhere":                    {old: poolOf(metav1.ObjectMeta{Namespace: "default", Name: "p"}, "x")},
		"a pool in use is deleted":             {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, refusal: use},
		"with --protect-pools=refuse":          {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, protect: ProtectRefuse, refusal: use},
		"with --protect-pools=warn":            {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, protect: ProtectWarn, warnings: []string{"Service default/huazi loses 172.25.254.50"}},
		"with --protect-pools=off":             {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, protect: ProtectOff},
		"disruption is allowed":                {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: poolOf(allowing(meta1("first-pool")), "172.25.254.50/32"), warnings: []string{"Service default/huazi loses 172.25.254.50"}},
		"a pool that nobody uses":              {world: []client.Object{first, running("huazi", "172.25.254.90")}, old: first},
		"a pool whose addresses stay":          {world: []client.Object{first, poolOf(younger(meta1("all")), "172.25.254.0/24"), running("huazi", "172.25.254.50")}, old: first},
		"another pool takes over":              {world: []client.Object{first, poolOf(meta1("p"), "172.25.254.70/32"), running("huazi", "172.25.254.50")}, old: first, protect: ProtectWarn, warnings: []string{"Service default/huazi moves from 172.25.254.50 to 172.25.254.70"}},
		"an advertisement loses its pool":      {world: []client.Object{first, &v1beta1.L2Advertisement{ObjectMeta: meta1("a"), Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"first-pool"}}}}, old: first, warnings: []string{`L2Advertisement "a" names pool "first-pool", which does not exist: create it or correct the name`}},
		"its namespace is being deleted":       {world: []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home, DeletionTimestamp: &yes, Finalizers: []string{"kubernetes"}}}, first, running("huazi", "172.25.254.50")}, old: first},
		"it is being deleted already":          {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: poolOf(metav1.ObjectMeta{Namespace: home, Name: "first-pool", DeletionTimestamp: &yes}, "172.25.254.50/32")},
		"a pool shrinks":                       {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, new: poolOf(meta1("first-pool"), "172.25.254.51-172.25.254.59"), warnings: []string{"Service default/huazi moves from 172.25.254.50 to 172.25.254.51"}},
		"a pool shrinks, protected":            {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, new: poolOf(meta1("first-pool"), "172.25.254.51/32"), protect: ProtectRefuse, refusal: `IPAddressPool "first-pool" is in use, and this change would disturb running Services: Service default/huazi moves from 172.25.254.50 to 172.25.254.51: delete or move them first, or set the annotation fairlead.io/allow-disruption: "true" on the IPAddressPool`},
		"a pool shrinks, allowed":              {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, new: poolOf(allowing(meta1("first-pool")), "172.25.254.51/32"), protect: ProtectRefuse, warnings: []string{"Service default/huazi moves from 172.25.254.50 to 172.25.254.51"}},
		"a pool shrinks where nobody is":       {world: []client.Object{first, running("huazi", "172.25.254.50")}, old: first, new: poolOf(meta1("first-pool"), "172.25.254.50/32")},
		"a NodePortRange":                      {new: portRange("r", "33000-33999", "20000")},
		"a NodePortRange in the API server's":  {new: portRange("r", "32000-33999"), refusal: `NodePortRange "r", spec.ports[0]: the API server gives 32000-32767 itself: leave them out, and ask for them by spec.ports[].nodePort of a Service`},
		"a NodePortRange over what is needed":  {new: portRange("r", "6443"), refusal: `NodePortRange "r", spec.ports[0]: 6443 usually belongs to the API server: leave it out, or set spec.allowReserved`},
		"a NodePortRange over another":         {world: []client.Object{portRange("q", "33000-33999")}, new: portRange("r", "33999"), refusal: `NodePortRange "r": 33999/TCP overlaps the older NodePortRange "q", which keeps 33999/TCP: remove that from one of the two; NodePortRange "r": 33999/UDP overlaps the older NodePortRange "q", which keeps 33999/UDP: remove that from one of the two`},
		"a NodePortRange in use is deleted":    {world: []client.Object{portRange("r", "33333"), portly}, old: portRange("r", "33333"), refusal: `NodePortRange "r" is in use, and deleting it would disturb running Services: Service default/portly loses the node ports http=33333: delete or move them first, or set the annotation fairlead.io/allow-disruption: "true" on the NodePortRange`},
		"a NodePortRange in use shrinks":       {world: []client.Object{portRange("r", "33333-33334"), portly}, old: portRange("r", "33333-33334"), new: portRange("r", "33334"), warnings: []string{"Service default/portly loses the node ports http=33333"}},
		"a NodePortRange in use grows":         {world: []client.Object{portRange("r", "33333"), portly}, old: portRange("r", "33333"), new: portRange("r", "33333-33334")},
		"a NodePortRange that nobody uses":     {world: []client.Object{portRange("r", "33334"), portly}, old: portRange("r", "33334")},
		"a NodePortRange, --protect-pools=off": {world: []client.Object{portRange("r", "33333"), portly}, old: portRange("r", "33333"), protect: ProtectOff},
		"a NodePortRange elsewhere":            {new: &v1alpha1.NodePortRange{TypeMeta: metav1.TypeMeta{Kind: "NodePortRange"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "r"}}, refusal: `NodePortRange "r", metadata.namespace: Fairlead reads its configuration in namespace "metallb-system" only: create it there, not in "default"`},
		"nothing can be read for deletion":     {old: first, broken: true, warnings: []string{"Fairlead could not check whether running Services need it: broken"}},
		"nothing can be read for a change":     {new: first, broken: true, refusal: "broken"},
		"elsewhere, nothing has to be read":    {old: poolOf(metav1.ObjectMeta{Namespace: "default", Name: "p"}), broken: true},
	} {
		t.Run(name, func(t *testing.T) {
			scheme, err := NewScheme()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(c.world, func(o client.Object) bool { return o.GetName() == home }) {
				c.world = append(c.world, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}})
			}
			functions := interceptor.Funcs{}
			if c.broken {
				functions.List = func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
					return errors.New("broken")
				}
				functions.Get = func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
					return errors.New("broken")
				}
			}
			reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(c.world...).WithInterceptorFuncs(functions).Build()
			v := &Validation{Client: reader, Uncached: reader, Log: slog.New(slog.DiscardHandler), Namespace: home, Protect: c.protect, Now: time.Now, ServiceCIDRs: true, ServiceNodePorts: policy.DefaultServiceNodePorts()}
			got := v.Handle(t.Context(), question(t, c.old, c.new))
			refusal := ""
			if !got.Allowed {
				refusal = got.Result.Message
			}
			if refusal != c.refusal && (!c.broken || !strings.Contains(refusal, c.refusal)) {
				t.Errorf("refused with\n%q, want\n%q", refusal, c.refusal)
			}
			if !slices.EqualFunc(got.Warnings, c.warnings, func(got, want string) bool {
				return got == want || c.broken && strings.Contains(got, strings.TrimSuffix(want, "broken")) && strings.Contains(got, "broken")
			}) {
				t.Errorf("warned of\n%q, want\n%q", got.Warnings, c.warnings)
			}
		})
	}
}

// question is what the API server asks about a change.
func question(t *testing.T, before, after client.Object) admission.Request {
	raw := func(o client.Object) (out runtime.RawExtension) {
		if o == nil {
			return out
		}
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: b}
	}
	o, operation := after, admissionv1.Update
	switch {
	case before == nil:
		operation = admissionv1.Create
	case after == nil:
		o, operation = before, admissionv1.Delete
	}
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Operation: operation, Kind: metav1.GroupVersionKind{Kind: o.GetObjectKind().GroupVersionKind().Kind}, Namespace: o.GetNamespace(), Name: o.GetName(),
		Object: raw(after), OldObject: raw(before),
	}}
}

func TestValidationLeavesStatusesAlone(t *testing.T) {
	q := question(t, nil, poolOf(metav1.ObjectMeta{Namespace: "default", Name: "p"}))
	q.SubResource = "status"
	if got := (&Validation{Namespace: home}).Handle(t.Context(), q); !got.Allowed {
		t.Errorf("refused: %s", got.Result.Message)
	}
}

// TestADeletionIsNeverRefusedForAFault: whatever it makes wrong with others, it is told, and no uninstall hangs.
func TestADeletionIsNeverRefusedForAFault(t *testing.T) {
	p := proposal{operation: admissionv1.Delete, object: policy.Ref{Kind: "IPAddressPool", Namespace: home, Name: "p"}, home: home}
	p.after = []policy.Problem{{
		Object:  policy.Ref{Kind: "IPAddressPool", Namespace: home, Name: "q"},
		Verdict: verdict.Verdict{Reason: verdict.OverlappingAddresses, Message: "q overlaps"},
	}}
	if got := p.judge(ProtectRefuse); got.refusal != "" || !slices.Equal(got.warnings, []string{"q overlaps"}) {
		t.Errorf("ruled %+v", got)
	}
}

func TestConsequences(t *testing.T) {
	addresses := func(texts ...string) (out []netip.Addr) {
		for _, text := range texts {
			out = append(out, netip.MustParseAddr(text))
		}
		return out
	}
	many := make([]fate, 12)
	for i := range many {
		many[len(many)-1-i] = fate{name: fmt.Sprintf("s%02d", i), held: addresses("192.0.2.1"), before: addresses("192.0.2.1")}
	}
	var ten []string
	for i := range 10 {
		ten = append(ten, fmt.Sprintf("Service default/s%02d loses 192.0.2.1", i))
	}
	for name, c := range map[string]struct {
		services []fate
		want     []string
	}{
		"nobody":                     {},
		"it stays":                   {[]fate{{"a", addresses("192.0.2.1"), addresses("192.0.2.1"), addresses("192.0.2.1"), false}}, nil},
		"it loses":                   {[]fate{{"a", addresses("192.0.2.1"), addresses("192.0.2.1"), nil, false}}, []string{"Service default/a loses 192.0.2.1"}},
		"it moves":                   {[]fate{{"a", addresses("192.0.2.1"), addresses("192.0.2.1"), addresses("192.0.2.2"), false}}, []string{"Service default/a moves from 192.0.2.1 to 192.0.2.2"}},
		"one of two moves":           {[]fate{{"a", addresses("192.0.2.1", "::1"), addresses("192.0.2.1", "::1"), addresses("192.0.2.1", "::2"), false}}, []string{"Service default/a moves from ::1 to ::2"}},
		"one of two is lost":         {[]fate{{"a", addresses("192.0.2.1", "::1"), addresses("192.0.2.1", "::1"), addresses("192.0.2.1"), false}}, []string{"Service default/a loses ::1"}},
		"both are lost":              {[]fate{{"a", addresses("192.0.2.1", "::1"), addresses("192.0.2.1", "::1"), nil, false}}, []string{"Service default/a loses 192.0.2.1 and ::1"}},
		"a second one comes":         {[]fate{{"a", addresses("192.0.2.1"), addresses("192.0.2.1"), addresses("192.0.2.1", "::1"), false}}, nil},
		"it waited and waits":        {[]fate{{"a", nil, nil, nil, false}}, nil},
		"it waited and would have":   {[]fate{{"a", nil, addresses("192.0.2.1"), nil, false}}, nil},
		"it would lose it anyway":    {[]fate{{"a", addresses("192.0.2.1"), nil, nil, false}}, nil},
		"it would move anyway":       {[]fate{{"a", addresses("192.0.2.1"), addresses("192.0.2.2"), addresses("192.0.2.3"), false}}, nil},
		"it goes":                    {[]fate{{"a", addresses("192.0.2.1"), addresses("192.0.2.1"), nil, true}}, nil},
		"many, by name, ten at most": {many, append(ten, "and 2 more")},
	} {
		t.Run(name, func(t *testing.T) {
			var services []allocator.Service
			var before, after []allocator.Decision
			for _, f := range c.services {
				services = append(services, allocator.Service{Key: allocator.Key{Namespace: "default", Name: f.name}, Held: f.held, Deleting: f.deleting})
				before = append(before, allocator.Decision{Addresses: f.before})
				after = append(after, allocator.Decision{Addresses: f.after})
			}
			if got := Consequences(services, before, after); !slices.Equal(got, c.want) {
				t.Errorf("got\n%q, want\n%q", got, c.want)
			}
		})
	}
}

// fate is what a Service shows, and what it would have without and with a change.
type fate struct {
	name                string
	held, before, after []netip.Addr
	deleting            bool
}

func TestParseProtection(t *testing.T) {
	for text, good := range map[string]bool{"": true, "refuse": true, "warn": true, "off": true, "Refuse": false, "on": false} {
		if p, err := ParseProtection(text); (err == nil) != good || good && string(p) != text {
			t.Errorf("%q: got %q, %v", text, p, err)
		}
	}
}
