package controllers

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/policy"
)

// TestSharers: the endpoints that an answer about a Service needs are its own, and those of Services that show one of its
// addresses, in whichever namespace.
func TestSharers(t *testing.T) {
	service := func(namespace, name string, addresses ...string) corev1.Service {
		s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		for _, a := range addresses {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		}
		return s
	}
	x := observed{services: []corev1.Service{
		service("a", "web", "10.0.0.1", "fd00::1"), service("a", "mail", "10.0.0.2"), service("b", "web", "fd00::1"), service("b", "new"), service("c", "dns", "10.0.0.1"),
	}}
	for about, want := range map[string]string{"a/web": "[a/web b/web c/dns]", "a/mail": "[a/mail]", "b/new": "[b/new]", "b/gone": "[b/gone]"} {
		namespace, name, _ := strings.Cut(about, "/")
		if got := fmt.Sprint(x.sharers(allocator.Key{Namespace: namespace, Name: name})); got != want {
			t.Errorf("%s: %s, want %s", about, got, want)
		}
	}
}

// TestAPeerWithASecretIsInForceForWhoAsks: that the one who asks does not read Secrets makes no peer wait.
func TestAPeerWithASecretIsInForceForWhoAsks(t *testing.T) {
	o := policy.Objects{BGPPeers: []v1beta2.BGPPeer{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "tor"},
		Spec:       v1beta2.BGPPeerSpec{MyASN: 64512, PeerASN: 64513, PeerAddress: "10.0.0.1", PasswordSecret: corev1.SecretReference{Name: "key"}},
	}}}
	view := Observation{Namespace: "metallb-system"}.view(&observed{objects: o})
	if p, ok := view.Policy.Peer("tor"); !ok || !p.InForce() || len(view.Problems) != 0 {
		t.Errorf("%+v, %v", p, view.Problems)
	}
}
