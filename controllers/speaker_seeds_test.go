package controllers

import (
	"maps"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// TestSeeds: speakers that published an address are asked to join there each time, those of other Nodes now and then.
func TestSeeds(t *testing.T) {
	node := func(name, address string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		return n
	}
	published := &v1alpha1.SpeakerState{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "n2"}}
	published.Status.Address = "192.0.2.2" // of another network than the Node's
	c := fakeClient(t, node("n1", "10.0.0.1"), node("n2", "10.0.0.2"), published).Build()
	one := map[string]netip.Addr{"n2": netip.MustParseAddr("192.0.2.2")}
	all := map[string]netip.Addr{"n1": netip.MustParseAddr("10.0.0.1"), "n2": one["n2"]}
	synctest.Test(t, func(t *testing.T) {
		a := &Announcing{Client: c, Namespace: "metallb-system"}
		for _, x := range []struct {
			after time.Duration
			want  map[string]netip.Addr
		}{{0, all}, {time.Second, one}, {28 * time.Second, one}, {time.Second, all}, {time.Second, one}} {
			time.Sleep(x.after)
			if got := a.peers(t.Context()); !maps.Equal(got, x.want) {
				t.Errorf("%v later it asks %v, want %v", x.after, got, x.want)
			}
		}
	})
}
