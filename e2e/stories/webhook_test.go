//go:build e2e

package stories

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestBadConfigurationIsRefusedAtOnce: kubectl says in one sentence what is wrong, shows what a change would do to
// running Services, and does not delete a pool in use.
func TestBadConfigurationIsRefusedAtOnce(t *testing.T) {
	s := begin(t)
	s.sample("first-pool.yaml")
	s.sample("huazi.yaml")
	s.hasAddresses("huazi", "172.25.254.50")
	s.serveWebhooks()

	const bad = `Error from server (Forbidden): error when creating "STDIN": admission webhook "configuration.fairlead.io" denied the request: ` +
		`IPAddressPool "bad", spec.addresses[0]: range "172.25.254.50-172.25.254.5" ends before it starts`
	s.eventually("the API server asks the webhooks", func() error {
		if out, err := s.kubectl(onePool("bad", "172.25.254.50-172.25.254.5"), "apply", "-f", "-"); err == nil || out != bad {
			return fmt.Errorf("kubectl says\n%s\nwant\n%s", out, bad)
		}
		return nil
	})
	s.says("Warning: Service default/huazi moves from 172.25.254.50 to 172.25.254.60", true,
		onePool("first-pool", "172.25.254.60-172.25.254.69"), "apply", "--dry-run=server", "-f", "-")
	s.says(`IPAddressPool "first-pool" is in use, and deleting it would disturb running Services: Service default/huazi loses 172.25.254.50: delete or move them first`, false,
		"", "delete", "ipaddresspool", "first-pool", "-n", cluster.FairleadNamespace)
	s.hasAddresses("huazi", "172.25.254.50")

	s.says("annotated", true, "", "annotate", "ipaddresspool", "first-pool", "-n", cluster.FairleadNamespace, "fairlead.io/allow-disruption=true")
	s.says("Warning: Service default/huazi loses 172.25.254.50", true, "", "delete", "ipaddresspool", "first-pool", "-n", cluster.FairleadNamespace)
}

// serveWebhooks runs the controller with webhooks until the story ends. The controller is no pod here, so its Service has
// an EndpointSlice and no selector; API servers before Kubernetes 1.34 look for Endpoints.
func (s *story) serveWebhooks() {
	s.Helper()
	var service corev1.Service
	s.read("service.yaml", &service)
	service.Spec.Selector = nil
	port, tcp, name := service.Spec.Ports[0].TargetPort.IntVal, corev1.ProtocolTCP, service.Spec.Ports[0].Name
	slice := discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: service.Namespace, Name: service.Name + "-here", Labels: map[string]string{discoveryv1.LabelServiceName: service.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{lab.ControlPlane().IPv4.String()}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
	endpoints := &unstructured.Unstructured{}
	s.must(yaml.Unmarshal(fmt.Appendf(nil, "{apiVersion: v1, kind: Endpoints, metadata: {namespace: %s, name: %s}, subsets: [{addresses: [{ip: %s}], ports: [{name: %s, port: %d}]}]}",
		service.Namespace, service.Name, lab.ControlPlane().IPv4, name, port), &endpoints.Object))
	var webhooks admissionregistrationv1.ValidatingWebhookConfiguration
	s.read("webhook.yaml", &webhooks)
	secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: "fairlead-webhook-cert"}}

	s.replaceController("--webhooks=on")
	s.Cleanup(func() {
		for _, o := range []client.Object{&webhooks, &slice, endpoints, &service, &secret} {
			s.must(client.IgnoreNotFound(lab.Client().Delete(context.Background(), o)))
		}
		s.replaceController()
	})
	for _, o := range []client.Object{&service, &slice, endpoints, &webhooks} {
		s.must(lab.Client().Create(s.ctx, o))
	}
	s.must(lab.WaitReady(s.ctx, lab.controller))
}

// read reads a manifest of config/webhook.
func (s *story) read(name string, into any) {
	s.Helper()
	text, err := os.ReadFile("../../config/webhook/" + name)
	s.must(err)
	s.must(yaml.UnmarshalStrict(text, into))
}

// replaceController stops the controller and starts one with other flags.
func (s *story) replaceController(args ...string) {
	s.Helper()
	s.stopController()
	p, err := lab.StartController(context.Background(), args...)
	s.must(err)
	lab.controller = p
}

// stopController stops the controller, if it runs, once it is ready: it may just have been started, and until it is ready its end
// need not be orderly.
func (s *story) stopController() {
	s.Helper()
	if !lab.controller.Running() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.must(lab.WaitReady(ctx, lab.controller))
	_, err := lab.controller.Stop(ctx)
	s.must(err)
}

// kubectl returns all that kubectl says, warnings and errors included.
func (s *story) kubectl(stdin string, args ...string) (string, error) {
	cmd := lab.ControlPlane().Command(s.ctx, append([]string{lab.KubectlPath(), "--kubeconfig", lab.Kubeconfig(), "--cache-dir", s.TempDir()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// says checks what kubectl says beside other things, and whether it succeeds.
func (s *story) says(want string, succeeds bool, stdin string, args ...string) {
	s.Helper()
	if out, err := s.kubectl(stdin, args...); (err == nil) != succeeds || !strings.Contains(out, want) {
		s.Errorf("kubectl %s: %v, it says\n%s\nwant\n%s", strings.Join(args, " "), err, out, want)
	}
}

func onePool(name, addresses string) string {
	return fmt.Sprintf(`
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: %s, namespace: metallb-system}
spec: {addresses: [%s]}
`, name, addresses)
}
