// Package netpolicy has a node's packet filter do what NetworkPolicies say, as a network plugin would: the tests' clusters
// have none. It knows what the chart uses, policies that name ports and no peers, and refuses any other.
package netpolicy

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Table is the name of the table, of the family inet.
const Table = "e2e-policies"

// Rules are what nft -f has to load on a node, instead of what is there, so that the policies hold for the pods of their
// namespaces. They are about every packet, and not only about the first of a connection: what was open before the rules came
// is held to them, too. What a node itself sends to its pods passes, as with every plugin.
func Rules(policies []networkingv1.NetworkPolicy, pods []corev1.Pod) (string, error) {
	var chains, jumps strings.Builder
	for i := range pods {
		pod := &pods[i]
		in, err := allowed(policies, pod, networkingv1.PolicyTypeIngress)
		if err != nil {
			return "", err
		}
		out, err := allowed(policies, pod, networkingv1.PolicyTypeEgress)
		if err != nil {
			return "", err
		}
		if pod.Spec.HostNetwork {
			continue // no policy is about it
		}
		for _, ip := range pod.Status.PodIPs {
			family := "ip"
			if strings.Contains(ip.IP, ":") {
				family = "ip6"
			}
			if in.isolated {
				fmt.Fprintf(&jumps, "    %s daddr %s jump in-%d\n", family, ip.IP, i)
			}
			if out.isolated {
				fmt.Fprintf(&jumps, "    %s saddr %s jump out-%d\n", family, ip.IP, i)
			}
		}
		fmt.Fprintf(&chains, "  chain in-%d {\n%s%s    drop\n  }\n", i, in.asked(), out.answered())
		fmt.Fprintf(&chains, "  chain out-%d {\n%s%s    drop\n  }\n", i, out.asked(), in.answered())
	}
	return fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n%[2]s  chain forward {\n    type filter hook forward priority filter + 10; policy accept;\n%[3]s  }\n}\n",
		Table, chains.String(), jumps.String()), nil
}

// ports are what a pod may be asked on, or may ask for, where policies are about it at all.
type ports struct {
	isolated bool
	list     []string // such as "tcp 443"
}

// asked are the rules that let packets to these ports pass.
func (p ports) asked() string {
	var out strings.Builder
	for _, port := range p.list {
		protocol, number, _ := strings.Cut(port, " ")
		fmt.Fprintf(&out, "    %s dport %s return\n", protocol, number)
	}
	return out.String()
}

// answered are the rules that let what these ports answer pass, but nothing of TCP that opens a connection.
func (p ports) answered() string {
	const goesOn = "tcp flags & (syn | ack) != syn "
	if !p.isolated {
		return "    " + goesOn + "return\n"
	}
	var out strings.Builder
	for _, port := range p.list {
		protocol, number, _ := strings.Cut(port, " ")
		more := ""
		if protocol == "tcp" {
			more = goesOn
		}
		fmt.Fprintf(&out, "    %s sport %s %sreturn\n", protocol, number, more)
	}
	return out.String()
}

// allowed is what the policies allow a pod in a direction.
func allowed(policies []networkingv1.NetworkPolicy, pod *corev1.Pod, direction networkingv1.PolicyType) (ports, error) {
	var out ports
	for i := range policies {
		p := &policies[i]
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			return out, fmt.Errorf("NetworkPolicy %s: %w", p.Name, err)
		}
		if p.Namespace != pod.Namespace || !selector.Matches(labels.Set(pod.Labels)) || !slices.Contains(p.Spec.PolicyTypes, direction) {
			continue
		}
		out.isolated = true
		var rules [][]networkingv1.NetworkPolicyPort
		peers := 0
		for _, r := range p.Spec.Ingress {
			if direction == networkingv1.PolicyTypeIngress {
				rules, peers = append(rules, r.Ports), peers+len(r.From)
			}
		}
		for _, r := range p.Spec.Egress {
			if direction == networkingv1.PolicyTypeEgress {
				rules, peers = append(rules, r.Ports), peers+len(r.To)
			}
		}
		for _, r := range rules {
			if peers > 0 || len(r) == 0 {
				return out, fmt.Errorf("NetworkPolicy %s has a rule with peers or without ports, which this package does not know", p.Name)
			}
			for _, port := range r {
				number, err := numberOf(port, pod)
				if err != nil {
					return out, fmt.Errorf("NetworkPolicy %s: %w", p.Name, err)
				}
				if number != "" {
					out.list = append(out.list, number)
				}
			}
		}
	}
	slices.Sort(out.list)
	out.list = slices.Compact(out.list)
	return out, nil
}

// numberOf is a port of a policy as "tcp 443". A name is one of the pod's ports; a pod without such a port has none.
func numberOf(port networkingv1.NetworkPolicyPort, pod *corev1.Pod) (string, error) {
	if port.Port == nil || port.Protocol == nil || port.EndPort != nil {
		return "", fmt.Errorf("%v is no single port of a protocol, which this package does not know", port)
	}
	protocol := strings.ToLower(string(*port.Protocol))
	if port.Port.Type == intstr.Int {
		return fmt.Sprintf("%s %d", protocol, port.Port.IntVal), nil
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == port.Port.StrVal && p.Protocol == *port.Protocol {
				return fmt.Sprintf("%s %d", protocol, p.ContainerPort), nil
			}
		}
	}
	return "", nil
}
