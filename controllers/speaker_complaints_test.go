package controllers

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// TestComplaintsAreToldOnce: conflicts and addresses without an interface are told by an Event on the Service, once each
// and by one speaker; what the kernel answers is logged once.
func TestComplaintsAreToldOnce(t *testing.T) {
	var log logBuffer
	var events recorder
	edge := &announced{}
	address := netip.MustParseAddr("172.25.254.50")
	kernel := []string(nil)
	a := &Announcing{
		Node: "n1", Log: log.logger(), Events: &events, Layer2: edge, metrics: newAnnouncingMetrics("n1"), kept: keeps(t),
		KernelAnswers: func(links []string) []string { return kernel },
	}
	link := plan.Link{Index: 2, Name: "eth0"}
	owned := plan.Verdict{Namespace: "default", Name: "huazi", Address: address, Owner: "n1", Verdict: verdict.Verdict{Reason: verdict.Announced, Message: "announcing"}}
	nobody := plan.Verdict{Namespace: "default", Name: "huazi", Address: address, Verdict: verdict.Verdict{Reason: verdict.NoInterface, Message: "no interface: there is \"eth0\""}}
	foreign := layer2.Conflict{Address: address, Link: link, MAC: [6]byte{2, 0, 0, 0, 0, 9}}
	speakers := layer2.Conflict{Address: address, Link: link, MAC: [6]byte{2, 0, 0, 0, 0, 2}, Node: "n2"}
	step := func(name string, members []string, v plan.Verdict, conflicts []layer2.Conflict, want ...string) {
		t.Helper()
		edge.conflicts = conflicts
		r := speaker.Report{Plan: plan.Plan{Verdicts: []plan.Verdict{v}}, Local: speaker.Local{Links: []plan.LinkState{{Link: link}}}}
		for _, m := range members {
			r.Local.Members = append(r.Local.Members, plan.Member{Node: m})
		}
		a.report(context.Background(), r)
		var got []string
		for _, e := range events.take() {
			got = append(got, e.kind+" "+e.reason+" "+e.note)
			if ref := e.object.(*corev1.ObjectReference); ref.Name != "huazi" || !strings.Contains(ref.FieldPath, address.String()) {
				t.Errorf("%s: the Event is about %v", name, ref)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: told %q, want %q", name, got, want)
		}
	}
	inUse := `Warning AddressUsedTwice another host, 02:00:00:00:00:09, uses 172.25.254.50 on eth0 of node "n1": one of them has to give it up`
	step("a foreign host", []string{"n1", "n2"}, owned, []layer2.Conflict{foreign}, inUse)
	step("it goes on", []string{"n1", "n2"}, owned, []layer2.Conflict{foreign})
	step("another speaker, too", []string{"n1", "n2"}, owned, []layer2.Conflict{speakers, foreign},
		`Warning AddressUsedTwice the speaker of node "n2" announces 172.25.254.50 on eth0, too: the one that comes first for it goes on`)
	step("over", []string{"n1", "n2"}, owned, nil)
	step("again", []string{"n1", "n2"}, owned, []layer2.Conflict{foreign}, inUse)

	step("no interface, another speaker comes first", []string{"n0", "n1"}, nobody, nil)
	a.complaint = complaints{}
	step("no interface, this speaker comes first", []string{"n1", "n2"}, nobody, nil, `Warning NoInterface no interface: there is "eth0"`)
	step("no interface, still", []string{"n1", "n2"}, nobody, nil)

	kernel = []string{"the kernel answers ARP on eth0"}
	step("the kernel answers", []string{"n1"}, owned, nil)
	step("the kernel still answers", []string{"n1"}, owned, nil)
	if n := strings.Count(log.String(), "the kernel answers ARP"); n != 1 {
		t.Errorf("logged %d times that the kernel answers", n)
	}
}
