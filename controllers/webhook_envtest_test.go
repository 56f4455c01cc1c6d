//go:build envtest

package controllers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// hooked is a story whose API server asks webhooks.
type hooked struct {
	*story
	user          client.Client // that an administrator's kubectl is, apart from the words around
	warnings      warnings
	configuration string // name of its ValidatingWebhookConfiguration
	definition    string // bgppeersDefinition for the one story that has BGPPeers converted
}

// warnings keeps what the API server warns of.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// take returns the warnings since it was called last.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.texts
	w.texts = nil
	return out
}

// newHooked installs config/rbac and config/webhook, under names of the story's own.
func newHooked(t *testing.T, definition string) *hooked {
	s := &hooked{story: newStory(t), definition: definition}
	s.configuration = s.config + "-webhooks"
	config := rest.CopyConfig(server)
	config.WarningHandler = &s.warnings
	user, err := client.New(config, client.Options{Scheme: s.admin.Scheme()})
	s.ok(err)
	s.user = user
	s.apply(s.manifest("rbac/controller.yaml"))
	return s
}

// manifest writes a manifest of config with the story's own names, and returns its path.
func (s *hooked) manifest(name string) string {
	text, err := os.ReadFile(filepath.Join("../config", name))
	s.ok(err)
	own := strings.NewReplacer("metallb-system", s.config, WebhookConfiguration, s.configuration, bgppeersDefinition, s.definition, "fairlead-controller", s.config+"-controller").Replace(string(text))
	path := filepath.Join(s.t.TempDir(), "manifest.yaml")
	s.ok(os.WriteFile(path, []byte(own), 0o600))
	return path
}

// install makes the API server ask a replica about the story's two namespaces.
func (s *hooked) install(port uint16) {
	s.t.Helper()
	text, err := os.ReadFile(s.manifest("webhook/webhook.yaml"))
	s.ok(err)
	var v admissionregistrationv1.ValidatingWebhookConfiguration
	s.ok(yaml.UnmarshalStrict(text, &v))
	for i := range v.Webhooks {
		url := fmt.Sprintf("https://localhost:%d%s", port, *v.Webhooks[i].ClientConfig.Service.Path)
		v.Webhooks[i].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url}
		v.Webhooks[i].NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{s.config, s.namespace}},
		}}
	}
	s.create(&v)
	s.t.Cleanup(func() { _ = s.admin.Delete(context.Background(), &v) })
}

// ask makes the API server ask another replica.
func (s *hooked) ask(port uint16) {
	s.t.Helper()
	v := s.current()
	for i := range v.Webhooks {
		url := fmt.Sprintf("https://localhost:%d%s", port, validatePath)
		v.Webhooks[i].ClientConfig.URL = &url
	}
	s.ok(s.admin.Update(s.ctx, v))
}

func (s *hooked) current() *admissionregistrationv1.ValidatingWebhookConfiguration {
	s.t.Helper()
	var v admissionregistrationv1.ValidatingWebhookConfiguration
	s.ok(s.admin.Get(s.ctx, client.ObjectKey{Name: s.configuration}, &v))
	return &v
}

// serve starts one replica's webhooks, with the rights of config/rbac.
func (s *hooked) serve(protect Protection) (*replica, uint16) {
	s.t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	s.ok(err)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	s.ok(l.Close())
	c := &replica{story: s.story}
	w := &Webhooks{
		Host: "localhost", Port: port, Log: c.log.logger(), Namespace: s.config, Class: s.class, Protect: protect, Now: time.Now,
		configuration: s.configuration, definition: s.definition, names: []string{"localhost"}, storageRest: 200 * time.Millisecond,
	}
	config := as(s.config + "/" + s.config + "-controller")
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return transport{c, next} })
	m := c.manager(config, func(o *manager.Options) {
		o.LeaderElection, o.LeaderElectionID, o.LeaderElectionNamespace, o.LeaderElectionReleaseOnCancel = true, s.config+"-controller", s.config, true
		w.Configure(o)
	})
	s.ok(w.SetUp(m))
	c.stop = s.background(m.Start)
	s.eventually(func() string {
		if err := w.serving.ready(nil); err != nil {
			return err.Error() + "\n" + c.log.String()
		}
		return ""
	})
	return c, port
}

// works waits until the webhooks are asked and answer.
func (s *hooked) works() {
	s.t.Helper()
	s.eventually(func() string {
		err := s.user.Create(s.ctx, s.pool("probe", "nonsense"), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "neither a CIDR") {
			return fmt.Sprintf("a pool of nonsense: %v", err)
		}
		return ""
	})
	s.warnings.take()
}

// refused checks that somebody is told just this.
func (s *hooked) refused(err error, want string) {
	s.t.Helper()
	if err == nil || err.Error() != want {
		s.t.Errorf("the answer is\n%v, want\n%s", err, want)
	}
	if got := s.warnings.take(); len(got) > 0 {
		s.t.Errorf("warned of %q beside", got)
	}
}

// warned checks that something was done, with just these warnings.
func (s *hooked) warned(err error, want ...string) {
	s.t.Helper()
	if got := s.warnings.take(); err != nil || !slices.Equal(got, want) {
		s.t.Errorf("the answer is %v with the warnings %q, want %q", err, got, want)
	}
}

// runs makes a Service with an address.
func (s *hooked) runs(name, address string) {
	s.t.Helper()
	v := s.service(name)
	s.create(v)
	s.merge(v, fmt.Sprintf(`{"metadata":{"annotations":{%q:"first-pool"}}}`, allocator.AnnotationAllocatedFrom))
	v.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	s.ok(s.admin.Status().Update(s.ctx, v))
}

// TestTheAPIServerAsksTheWebhooks sees what users see, through a real API server.
func TestTheAPIServerAsksTheWebhooks(t *testing.T) {
	s := newHooked(t, "none.example.com")
	c, port := s.serve(ProtectDeletions)
	s.install(port)
	s.works()

	const refusal = `admission webhook "configuration.fairlead.io" denied the request: `
	s.refused(s.user.Create(s.ctx, s.pool("bad", "172.25.254.0/33")),
		refusal+`IPAddressPool "bad", spec.addresses[0]: "172.25.254.0/33" is neither a CIDR such as 192.0.2.0/24 nor a range such as 192.0.2.10-192.0.2.20`)
	first := s.pool("first-pool", "172.25.254.50-172.25.254.59")
	s.warned(s.user.Create(s.ctx, first))
	for _, name := range []string{"a-second", "second"} { // both created in the same second as the first one, perhaps
		s.refused(s.user.Create(s.ctx, s.pool(name, "172.25.254.59/32")), refusal+fmt.Sprintf(
			`IPAddressPool %q: range 172.25.254.59 overlaps the older pool "first-pool", which keeps 172.25.254.59: remove that from one of the two`, name))
	}
	elsewhere := s.pool("elsewhere", "172.25.254.1/32")
	elsewhere.Namespace = s.namespace
	s.refused(s.user.Create(s.ctx, elsewhere), refusal+fmt.Sprintf(
		`IPAddressPool "elsewhere", metadata.namespace: Fairlead reads its configuration in namespace %q only: create it there, not in %q`, s.config, s.namespace))
	s.refused(s.user.Create(s.ctx, &v1alpha1.AddressReservation{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "r"}, Spec: v1alpha1.AddressReservationSpec{
		Address: "172.25.254.300", Service: &v1alpha1.ServiceReference{Namespace: s.namespace, Name: "huazi"},
	}}), refusal+`AddressReservation "r", spec.address: "172.25.254.300" is not an IP address`)
	s.warned(s.user.Create(s.ctx, &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "l2"}, Spec: v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"later"}}}),
		`L2Advertisement "l2" names pool "later", which does not exist: create it or correct the name`)

	// A pool over the cluster's own networks is told, and stored.
	s.warned(s.user.Create(s.ctx, s.pool("over-services", "10.96.255.0/25"), client.DryRunAll),
		`IPAddressPool "over-services" has addresses that are in use otherwise: 10.96.0.0-10.96.255.255 is a Service CIDR (ServiceCIDR "kubernetes"): take them out of spec.addresses`)

	// The BGP kinds, and a BFDProfile that is in use.
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: s.config, Name: name} }
	s.refused(s.user.Create(s.ctx, &v1beta2.BGPPeer{ObjectMeta: named("bad"), Spec: v1beta2.BGPPeerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: "router"}}),
		refusal+`BGPPeer "bad", spec.peerAddress: "router" is not an IP address`)
	s.refused(s.user.Create(s.ctx, &v1beta1.BGPAdvertisement{ObjectMeta: named("bad"), Spec: v1beta1.BGPAdvertisementSpec{Communities: []string{"1:99999"}}}),
		refusal+`BGPAdvertisement "bad", spec.communities[0]: "1:99999" is not a community: want NUMBER:NUMBER, each from 0 to 65535, or large:NUMBER:NUMBER:NUMBER`)
	s.refused(s.user.Create(s.ctx, &v1beta1.Community{ObjectMeta: named("bad"), Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "x", Value: "1:2:3"}}}}),
		refusal+`Community "bad", spec.communities[0].value: "1:2:3" is not a community: want NUMBER:NUMBER, each from 0 to 65535, or large:NUMBER:NUMBER:NUMBER`)
	fast := &v1beta1.BFDProfile{ObjectMeta: named("fast")}
	s.warned(s.user.Create(s.ctx, fast))
	s.warned(s.user.Create(s.ctx, &v1beta2.BGPPeer{ObjectMeta: named("good"), Spec: v1beta2.BGPPeerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: "192.0.2.1", BFDProfile: "fast"}}))
	s.refused(s.user.Delete(s.ctx, fast), `admission webhook "deletion.fairlead.io" denied the request: `+
		`BFDProfile "fast" is in use, and would be missing: BGPPeer "good" names BFDProfile "fast", which does not exist: create it or correct spec.bfdProfile`)

	// A change that would disturb running Services; --dry-run=server shows the same and changes nothing.
	for i := range 12 {
		s.runs(fmt.Sprintf("s%02d", i), "172.25.254.50") // they may not share it, so one alone has it
	}
	s.runs("huazi", "172.25.254.51")
	shrink := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"addresses":["172.25.254.52/32"]}}`))
	s.eventually(func() string { // the Services come by a watch
		err := s.user.Patch(s.ctx, first.DeepCopy(), shrink, client.DryRunAll)
		if got := s.warnings.take(); err != nil || len(got) != 2 || !strings.HasPrefix(got[0], "Service "+s.namespace+"/") {
			return fmt.Sprintf("warned of %q, %v", got, err)
		}
		return ""
	})
	var now v1beta1.IPAddressPool
	s.ok(s.user.Get(s.ctx, client.ObjectKeyFromObject(first), &now))
	if !slices.Equal(now.Spec.Addresses, first.Spec.Addresses) {
		t.Errorf("a dry run changed the pool to %q", now.Spec.Addresses)
	}

	// A pool in use cannot be deleted, but for who says so on the pool.
	err := s.user.Delete(s.ctx, first)
	const inUse = `admission webhook "deletion.fairlead.io" denied the request: IPAddressPool "first-pool" is in use, and deleting it would disturb running Services: Service `
	if err == nil || !strings.HasPrefix(err.Error(), inUse) || !strings.HasSuffix(err.Error(), `set the annotation fairlead.io/allow-disruption: "true" on the IPAddressPool`) {
		t.Errorf("deleting a pool in use: %v", err)
	}
	s.warned(s.user.Patch(s.ctx, first, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"fairlead.io/allow-disruption":"true"}}}`))))
	s.ok(s.user.Delete(s.ctx, first, client.DryRunAll))
	if got := s.warnings.take(); len(got) != 2 {
		t.Errorf("deleting a pool that may be: warned of %q", got)
	}
	s.warned(s.user.Patch(s.ctx, first, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))))

	// A namespace that is being deleted is let go.
	s.ok(s.admin.Delete(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.config}}))
	s.warned(s.user.Delete(s.ctx, first))
	c.quiet()
}

// TestTheWebhooksCertificate: it comes by itself, all replicas serve with it, and what somebody breaks is mended.
func TestTheWebhooksCertificate(t *testing.T) {
	s := newHooked(t, "none.example.com")
	s.install(1) // before there is a certificate
	leader, port := s.serve(ProtectDeletions)
	s.ask(port)
	s.works()
	second, other := s.serve(ProtectDeletions)
	s.ask(other)
	s.works()
	empty := s.pool("bad")
	empty.Spec.Addresses = []string{}
	s.refused(s.user.Create(s.ctx, empty), `admission webhook "configuration.fairlead.io" denied the request: IPAddressPool "bad" has no addresses: list at least one CIDR or range in spec.addresses`)

	// A lost caBundle is back soon.
	bundle := s.current().Webhooks[0].ClientConfig.CABundle
	for what, broken := range map[string][]byte{"lost": nil, "another one's": otherAuthority(t)} {
		v := s.current()
		for i := range v.Webhooks {
			v.Webhooks[i].ClientConfig.CABundle = broken
		}
		s.ok(s.admin.Update(s.ctx, v))
		began := time.Now()
		s.eventually(func() string {
			for _, w := range s.current().Webhooks {
				if string(w.ClientConfig.CABundle) != string(bundle) {
					return "the caBundle, which was " + what + ", is not restored"
				}
			}
			return ""
		})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("restoring the caBundle, which was %s, took %s", what, took)
		}
		s.works()
	}

	// A certificate that is deleted or spoilt is replaced.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: WebhookSecret}}
	fresh := func(before []byte) []byte {
		t.Helper()
		var now corev1.Secret
		s.eventually(func() string {
			if err := s.admin.Get(s.ctx, client.ObjectKeyFromObject(secret), &now); err != nil {
				return err.Error()
			}
			if key := string(now.Data[corev1.TLSCertKey]); key == string(before) || key == "" {
				return "the certificate is the old one"
			}
			return ""
		})
		s.works()
		return now.Data[corev1.TLSCertKey]
	}
	certificate := fresh(nil)
	never := s.background(s.alwaysAnswers)
	s.merge(secret, `{"data":{"tls.crt":""}}`)
	certificate = fresh(certificate)
	s.ok(never())
	s.delete(secret)
	fresh(certificate)

	// Only the leader wrote; then the other one takes over.
	for _, w := range second.writes() {
		if strings.Contains(w, "/secrets") || strings.Contains(w, "/validatingwebhookconfigurations") {
			t.Errorf("the replica that does not lead wrote %s", w)
		}
	}
	s.ok(leader.stop())
	s.delete(&corev1.Secret{ObjectMeta: secret.ObjectMeta})
	fresh(nil)

	// Without any replica: nothing new is stored unchecked, but statuses are written and pools can be deleted.
	pool := s.pool("pool", "172.25.254.50/32")
	s.ok(s.user.Create(s.ctx, pool))
	s.ok(second.stop())
	if err := s.user.Create(s.ctx, s.pool("unchecked", "172.25.254.1/32")); !apierrors.IsInternalError(err) {
		t.Errorf("without a replica, creating a pool: %v", err)
	}
	pool.Status.AvailableIPv4 = 1
	s.ok(s.user.Status().Update(s.ctx, pool))
	s.ok(s.user.Delete(s.ctx, pool))
	for line := range strings.Lines(libraryLogs.String() + leader.log.String() + second.log.String()) {
		if strings.Contains(line, "forbidden") && !strings.Contains(line, "LeaderElection") && strings.Contains(line, ":"+s.config+"-controller") {
			t.Errorf("a right is missing: %s", line)
		}
	}
}

// TestBGPPeersAreServedInBothVersions: no version loses what only the other one can hold.
func TestBGPPeersAreServedInBothVersions(t *testing.T) {
	s := newHooked(t, bgppeersDefinition)
	s.install(1)
	c, port := s.serve(ProtectDeletions)
	s.ask(port)
	s.works()
	definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: bgppeersDefinition}}
	change := func(patch string) {
		t.Helper()
		s.ok(s.admin.Patch(context.Background(), definition, client.RawPatch(types.JSONPatchType, []byte(patch))))
	}
	change(fmt.Sprintf(`[{"op":"replace","path":"/spec/versions/0/served","value":true},{"op":"add","path":"/spec/conversion","value":
		{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":"https://localhost:%d%s"}}}}]`, port, convertPath))
	t.Cleanup(func() {
		change(`[{"op":"replace","path":"/spec/versions/0/served","value":false},{"op":"replace","path":"/spec/conversion","value":{"strategy":"None"}}]`)
	})
	s.eventually(func() string {
		s.ok(s.admin.Get(s.ctx, client.ObjectKeyFromObject(definition), definition))
		if len(definition.Spec.Conversion.Webhook.ClientConfig.CABundle) == 0 {
			return "there is no caBundle"
		}
		return ""
	})

	old := &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "old"}, Spec: v1beta1.BGPPeerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: "192.0.2.1"}}
	s.eventually(func() string {
		if err := s.user.Create(s.ctx, old); err != nil {
			return err.Error()
		}
		return ""
	})
	key := client.ObjectKey{Namespace: s.config, Name: "new"}
	s.create(&v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: v1beta2.BGPPeerSpec{
		MyASN: 64500, PeerASN: 64501, PeerAddress: "192.0.2.1", VRFName: "red", ConnectTime: &metav1.Duration{Duration: 5 * time.Second},
	}})
	var one v1beta1.BGPPeer
	var two v1beta2.BGPPeer
	s.ok(s.user.Get(s.ctx, client.ObjectKeyFromObject(old), &two))
	if two.Spec.PeerAddress != "192.0.2.1" || two.Spec.PeerPort != 179 || len(two.Annotations) > 0 {
		t.Errorf("written as v1beta1, read as v1beta2: %+v", two)
	}
	s.ok(s.user.Get(s.ctx, key, &one))
	one.Spec.PeerAddress = "192.0.2.2"
	s.ok(s.user.Update(s.ctx, &one))
	two = v1beta2.BGPPeer{}
	s.ok(s.user.Get(s.ctx, key, &two))
	if two.Spec.PeerAddress != "192.0.2.2" || two.Spec.VRFName != "red" || two.Spec.ConnectTime == nil || len(two.Annotations) > 0 {
		t.Errorf("changed as v1beta1, read as v1beta2: %+v", two)
	}

	// The rules hold for both versions, and a lost caBundle comes back.
	elsewhere := &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "old"}, Spec: old.Spec}
	if err := s.user.Create(s.ctx, elsewhere); err == nil || !strings.Contains(err.Error(), "create it there") {
		t.Errorf("a BGPPeer in another namespace: %v", err)
	}
	change(`[{"op":"remove","path":"/spec/conversion/webhook/clientConfig/caBundle"}]`)
	s.eventually(func() string {
		if err := s.user.Get(s.ctx, key, &one); err != nil {
			return err.Error()
		}
		return ""
	})
	s.storedAnew(definition, change, key)
	c.quiet()
}

// storedAnew has one BGPPeer stored as v1beta1, as another release did it, and sees it become v1beta2 by itself.
func (s *hooked) storedAnew(definition *apiextensionsv1.CustomResourceDefinition, change func(string), key client.ObjectKey) {
	s.t.Helper()
	stored := func() []string {
		s.ok(s.admin.Get(s.ctx, client.ObjectKeyFromObject(definition), definition))
		return definition.Status.StoredVersions
	}
	storeAs := func(one, two bool) {
		change(fmt.Sprintf(`[{"op":"replace","path":"/spec/versions/0/storage","value":%t},{"op":"replace","path":"/spec/versions/1/storage","value":%t}]`, one, two))
	}
	storeAs(true, false)
	var two v1beta2.BGPPeer
	s.eventually(func() string { // until the API server stores as it was told
		s.ok(s.user.Get(s.ctx, key, &two))
		metav1.SetMetaDataLabel(&two.ObjectMeta, "touched", time.Now().Format("150405.000000000"))
		if err := s.user.Update(s.ctx, &two); err != nil {
			return err.Error()
		}
		if !slices.Contains(stored(), "v1beta1") {
			return "nothing is stored as v1beta1"
		}
		return ""
	})
	storeAs(false, true)
	s.eventually(func() string {
		if got := stored(); !slices.Equal(got, []string{"v1beta2"}) {
			return fmt.Sprintf("stored are %v", got)
		}
		return ""
	})
	// What is stored as v1beta2 is read as it is: without conversion too.
	change(`[{"op":"replace","path":"/spec/versions/0/served","value":false},{"op":"replace","path":"/spec/conversion","value":{"strategy":"None"}}]`)
	s.eventually(func() string {
		two = v1beta2.BGPPeer{}
		if err := s.user.Get(s.ctx, key, &two); err != nil {
			return err.Error()
		}
		if two.Spec.VRFName != "red" {
			return fmt.Sprintf("read without conversion: %+v", two)
		}
		return ""
	})
}

// alwaysAnswers returns an error when the API server once could not ask the webhooks, or was content without them.
func (s *hooked) alwaysAnswers(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.admin.Create(s.ctx, s.pool("probe", "nonsense"), client.DryRunAll); err == nil || !strings.Contains(err.Error(), "neither a CIDR") {
			return fmt.Errorf("while the certificate is replaced, a pool of nonsense: %w", err)
		}
	}
	return nil
}

// otherAuthority is a certificate that has nothing to do with ours.
func otherAuthority(t *testing.T) []byte {
	made := rotator.CertRotator{CAName: "other", CAOrganization: "other"}
	authority, err := made.CreateCACert(time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return authority.CertPEM
}
