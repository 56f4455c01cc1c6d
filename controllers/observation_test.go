package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/policy"
)

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
