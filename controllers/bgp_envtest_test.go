//go:build envtest

package controllers

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
)

// speaksBGP has the speaker of the node, with its real rights, read everything that BGP needs: a peer that names what is
// missing waits and says for what, and goes on when it comes. Its plan shows in a ServiceBGPStatus.
func (s *story) speaksBGP(node string) {
	s.t.Helper()
	here := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: s.config, Name: name} }
	says := func(result v1beta1.ConfigurationResult, text string) {
		s.t.Helper()
		s.state("speaker-"+node, "configReconcilerValid", result, text)
	}
	peer := &v1beta2.BGPPeer{ObjectMeta: here("router"), Spec: v1beta2.BGPPeerSpec{
		MyASN: 64500, PeerASN: 64501, PeerAddress: "10.0.0.1", BFDProfile: "fast", PasswordSecret: corev1.SecretReference{Name: "key"},
	}}
	ad := &v1beta1.BGPAdvertisement{ObjectMeta: here("all"), Spec: v1beta1.BGPAdvertisementSpec{Communities: []string{"vpn"}}}
	s.create(peer, ad)
	says("Invalid", `BGPPeer "router" names Secret "metallb-system/key", which does not exist`)
	// The webhook's key is of another type, and no speaker's business.
	s.create(&corev1.Secret{ObjectMeta: here("key"), Type: corev1.SecretTypeOpaque, StringData: map[string]string{"password": "x"}})
	says("Invalid", `names Secret "metallb-system/key", which does not exist as one of type "kubernetes.io/basic-auth"`)
	s.delete(&corev1.Secret{ObjectMeta: here("key")})
	s.create(&corev1.Secret{ObjectMeta: here("key"), Type: corev1.SecretTypeBasicAuth, StringData: map[string]string{"username": "", "password": "x"}})
	says("Invalid", `BGPPeer "router" names BFDProfile "fast", which does not exist`)
	s.create(&v1beta1.BFDProfile{ObjectMeta: here("fast")})
	says("Invalid", `"vpn"`)
	s.create(&v1beta1.Community{ObjectMeta: here("aliases"), Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "vpn", Value: "64500:7"}}}})
	says("Valid", "")

	shows := func(peers ...string) {
		s.t.Helper()
		s.eventually(func() string {
			var list v1beta1.ServiceBGPStatusList
			if err := s.admin.List(s.ctx, &list, client.InNamespace(s.config)); err != nil {
				return err.Error()
			}
			if len(peers) == 0 && len(list.Items) == 0 {
				return ""
			}
			if len(peers) == 0 || len(list.Items) != 1 {
				return fmt.Sprintf("there are %d ServiceBGPStatuses", len(list.Items))
			}
			o := list.Items[0]
			if o.Status.Node != node || o.Status.ServiceName != "huazi" || o.Status.ServiceNamespace != s.namespace || !slices.Equal(o.Status.Peers, peers) ||
				o.Labels["metallb.io/node"] != node || o.Labels["metallb.io/service-name"] != "huazi" || len(o.OwnerReferences) != 1 {
				return fmt.Sprintf("the ServiceBGPStatus is %+v", o)
			}
			return ""
		})
	}
	shows("router")
	s.create(&v1beta2.BGPPeer{ObjectMeta: here("another"), Spec: v1beta2.BGPPeerSpec{MyASN: 64500, PeerASN: 64501, PeerAddress: "10.0.0.2"}})
	shows("another", "router")
	s.delete(ad)
	shows()
	for _, o := range []client.Object{
		peer, &v1beta2.BGPPeer{ObjectMeta: here("another")}, &v1beta1.BFDProfile{ObjectMeta: here("fast")},
		&v1beta1.Community{ObjectMeta: here("aliases")}, &corev1.Secret{ObjectMeta: here("key")},
	} {
		s.delete(o)
	}
	says("Valid", "")
}
