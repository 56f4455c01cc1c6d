package netpolicy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func policies(t *testing.T, specs ...string) (out []networkingv1.NetworkPolicy) {
	t.Helper()
	for _, s := range specs {
		p := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"}}
		if err := yaml.UnmarshalStrict([]byte(s), &p.Spec); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func pod(namespace string, ips ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"app": "a"}}}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: "TCP"}}}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

// TestRules: a pod that a policy is about is asked on what any policy allows, and asks for no more; answers pass.
func TestRules(t *testing.T) {
	const (
		in      = `{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress], ingress: [{ports: [{port: web, protocol: TCP}, {port: none, protocol: TCP}]}]}`
		both    = `{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 9, protocol: UDP}]}], egress: [{ports: [{port: 6443, protocol: TCP}]}]}`
		another = `{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress, Egress]}`
		deny    = `{podSelector: {}, policyTypes: [Ingress, Egress]}`
	)
	for name, c := range map[string]struct {
		policies []networkingv1.NetworkPolicy
		pod      corev1.Pod
		want     string
	}{
		"no policy is about it": {policies(t, another), pod("n", "10.0.0.1"), ``},
		"another namespace":     {policies(t, deny), pod("m", "10.0.0.1"), ``},
		"only who asks it": {policies(t, in), pod("n", "10.0.0.1"), `
ip daddr 10.0.0.1 jump in-0
in: tcp dport 8080 return
in: tcp flags & (syn | ack) != syn return
in: drop`},
		"all of them together": {policies(t, in, both, deny), pod("n", "10.0.0.1", "fd00::1"), `
ip daddr 10.0.0.1 jump in-0
ip saddr 10.0.0.1 jump out-0
ip6 daddr fd00::1 jump in-0
ip6 saddr fd00::1 jump out-0
in: tcp dport 8080 return
in: udp dport 9 return
in: tcp sport 6443 tcp flags & (syn | ack) != syn return
in: drop
out: tcp dport 6443 return
out: tcp sport 8080 tcp flags & (syn | ack) != syn return
out: udp sport 9 return
out: drop`},
		"nothing at all": {policies(t, deny), pod("n", "10.0.0.1"), `
ip daddr 10.0.0.1 jump in-0
ip saddr 10.0.0.1 jump out-0
in: drop
out: drop`},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := Rules(c.policies, []corev1.Pod{c.pod})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, reached(rules)); d != "" {
				t.Errorf("%s\n%s", d, rules)
			}
		})
	}
}

// reached are the rules of the base chain, and those of the chains that it leads to.
func reached(rules string) string {
	var out strings.Builder
	_, forward, _ := strings.Cut(rules, "policy accept;\n")
	for line := range strings.Lines(forward) {
		if strings.Contains(line, "jump") {
			out.WriteString("\n" + strings.TrimSpace(line))
		}
	}
	for _, chain := range []string{"in", "out"} {
		if !strings.Contains(forward, "jump "+chain) {
			continue
		}
		_, text, _ := strings.Cut(rules, "chain "+chain+"-0 {\n")
		text, _, _ = strings.Cut(text, "  }")
		for line := range strings.Lines(text) {
			out.WriteString("\n" + chain + ": " + strings.TrimSpace(line))
		}
	}
	return out.String()
}

// TestWhatIsNotKnownIsRefused, so that no test passes because a rule was left out.
func TestWhatIsNotKnownIsRefused(t *testing.T) {
	for _, spec := range []string{
		`{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}`,
		`{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}], ports: [{port: 1, protocol: TCP}]}]}`,
		`{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 1, protocol: TCP}]}]}`,
		`{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 1, endPort: 2, protocol: TCP}]}]}`,
		`{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{protocol: TCP}]}]}`,
	} {
		if rules, err := Rules(policies(t, spec), []corev1.Pod{pod("n", "10.0.0.1")}); err == nil {
			t.Errorf("%s becomes\n%s", spec, rules)
		}
	}
}
