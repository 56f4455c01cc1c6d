//go:build e2e

package stories

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// story is one user's story: it removes what it made.
type story struct {
	*testing.T
	ctx context.Context
}

// begin starts a story, with a controller and speakers that are ready, whatever became of those of the story before. At its
// end every Service of the namespace default but the API server's own, every pool and every advertisement is deleted, and
// nobody announces anything any more.
func begin(t *testing.T) *story {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	s := &story{t, ctx}
	t.Cleanup(func() {
		defer cancel()
		s.cleanUp()
	})
	if !lab.controller.Running() {
		s.restartController()
	}
	for node, p := range lab.speakers {
		if !p.Running() {
			s.restartSpeaker(node)
		}
	}
	s.must(lab.WaitReady(s.ctx, lab.controller))
	return s
}

func (s *story) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var list corev1.ServiceList
	s.must(lab.Client().List(ctx, &list, client.InNamespace("default")))
	for i := range list.Items {
		if list.Items[i].Name != "kubernetes" {
			s.must(client.IgnoreNotFound(lab.Client().Delete(ctx, &list.Items[i])))
		}
	}
	for _, kind := range []client.Object{
		&v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{}, &v1beta2.BGPPeer{}, &v1beta1.BGPAdvertisement{}, &v1beta1.BFDProfile{},
	} {
		s.must(lab.Client().DeleteAllOf(ctx, kind, client.InNamespace(cluster.FairleadNamespace)))
	}
}

func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *story) eventually(what string, fn func() error) {
	s.Helper()
	if err := cluster.Eventually(s.ctx, patience, fn); err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

func (s *story) sample(name string) {
	s.Helper()
	s.must(lab.ApplySample(s.ctx, name))
}

func (s *story) apply(manifests string) {
	s.Helper()
	s.must(lab.Apply(s.ctx, manifests))
}

// pod adds a pod that lasts as long as the story.
func (s *story) pod(node int, app string) *cluster.Pod {
	s.Helper()
	p, err := lab.AddPod(s.ctx, cluster.PodOptions{Node: node, Labels: map[string]string{"app": app}})
	s.must(err)
	s.Cleanup(func() { s.must(lab.RemovePod(context.Background(), p)) })
	return p
}

func (s *story) service(name string) *corev1.Service {
	s.Helper()
	var out corev1.Service
	s.must(lab.Client().Get(s.ctx, client.ObjectKey{Namespace: "default", Name: name}, &out))
	return &out
}

func addressesOf(service *corev1.Service) []string {
	var out []string
	for _, in := range service.Status.LoadBalancer.Ingress {
		out = append(out, in.IP)
	}
	return out
}

// hasAddresses waits until the Service shows exactly these addresses.
func (s *story) hasAddresses(name string, want ...string) {
	s.Helper()
	s.eventually("addresses of "+name, func() error {
		if got := addressesOf(s.service(name)); !slices.Equal(got, want) {
			return fmt.Errorf("has %v, want %v", got, want)
		}
		return nil
	})
}

// event waits for an Event of Fairlead's about an object.
func (s *story) event(kind, name, reason, text string) {
	s.Helper()
	s.eventually("Event "+reason+" on "+name, func() error {
		found := s.events(kind, name)
		for _, e := range found {
			if e.Reason == reason && strings.Contains(e.Note, text) {
				return nil
			}
		}
		return fmt.Errorf("no Event says %q, only %v", text, notes(found))
	})
}

// events returns Fairlead's Events about an object.
func (s *story) events(kind, name string) []eventsv1.Event {
	s.Helper()
	var list eventsv1.EventList
	s.must(lab.Client().List(s.ctx, &list))
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool {
		ours := strings.HasPrefix(e.ReportingController, "fairlead-") // the API server tells some of its own
		return !ours || e.Regarding.Kind != kind || e.Regarding.Name != name
	})
}

func notes(events []eventsv1.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Reason+": "+e.Note)
	}
	return out
}

// announcer waits until exactly one host answers for the address, that being a node, and returns it.
func (s *story) announcer(address string) *cluster.Host {
	s.Helper()
	var host *cluster.Host
	s.eventually("exactly one node answers for "+address, func() error {
		who := s.whoHas(address)
		if len(who) != 1 {
			return fmt.Errorf("%d hosts answer: %v", len(who), who)
		}
		host = lab.HostOf(who[0])
		if !slices.Contains(lab.Nodes(), host) {
			return fmt.Errorf("%s answers, which is no node", who[0])
		}
		return nil
	})
	return host
}

// silent waits until nobody answers for the address.
func (s *story) silent(address string) {
	s.Helper()
	s.eventually("nobody answers for "+address, func() error {
		if who := s.whoHas(address); len(who) > 0 {
			return fmt.Errorf("%v answers", who)
		}
		return nil
	})
}

func (s *story) whoHas(address string) []net.HardwareAddr {
	s.Helper()
	who, err := lab.Outside().WhoHas(s.ctx, netip.MustParseAddr(address), 500*time.Millisecond)
	s.must(err)
	return who
}

// page asks from outside until the pods named all have answered, and returns the last answer.
func (s *story) page(address string, port uint16, pods ...*cluster.Pod) string {
	s.Helper()
	waiting := map[string]bool{}
	for _, p := range pods {
		waiting[p.Name] = true
	}
	var body string
	s.eventually("every pod answers at "+address, func() (err error) {
		body, err = s.get(address, port)
		if err != nil {
			return err
		}
		delete(waiting, strings.Fields(body)[0])
		if len(waiting) > 0 {
			return fmt.Errorf("not heard of: %v", waiting)
		}
		return nil
	})
	return body
}

// served waits until every node's kube-proxy knows the address: each takes up a change when it likes, at most once a second,
// and later where the API server was away. What a client sends before that is tracked without a translation for two
// minutes, and a later connection from the same port meets that and fails: so this comes before the first request.
func (s *story) served(address string, port uint16) {
	s.Helper()
	for _, n := range lab.Nodes() {
		s.eventually(n.Name+" reaches the page by its own kube-proxy", func() error {
			ctx, cancel := context.WithTimeout(s.ctx, time.Second)
			defer cancel()
			_, err := n.HTTPGet(ctx, cluster.URL(netip.MustParseAddr(address), port))
			return err
		})
	}
}

// get asks once from outside, and does not wait for long: a connection to a pod that is gone would hang.
func (s *story) get(address string, port uint16) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	return lab.Outside().HTTPGet(ctx, cluster.URL(netip.MustParseAddr(address), port))
}

func nodeIndex(h *cluster.Host) int { return slices.Index(lab.Nodes(), h) }

// restartSpeaker starts a node's speaker again after it was stopped, and waits until it is ready.
func (s *story) restartSpeaker(node int) {
	s.Helper()
	p, err := lab.StartSpeaker(context.Background(), node)
	s.must(err)
	lab.speakers[node] = p
	s.must(lab.WaitReady(context.Background(), p))
}

func (s *story) restartController() {
	s.Helper()
	p, err := lab.StartController(context.Background())
	s.must(err)
	lab.controller = p
}
