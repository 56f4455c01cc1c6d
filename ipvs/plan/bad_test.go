package plan

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// TestBadInput: whatever is wrong with a Service is one clear verdict on it; what is good of it is served all the same, and so
// is everybody else.
func TestBadInput(t *testing.T) {
	conflict := func(s *Service) { s.LoadBalancer[0] = netip.MustParseAddr("192.0.2.9") }
	for name, c := range map[string]struct {
		change  func(*Service)
		reason  verdict.Reason
		message string
		served  string // the Service's virtual server, with its scheduler; "": none
	}{
		"nothing": {func(*Service) {}, "", "", "192.0.2.1:80 rr"},
		"a port above 65535": {func(s *Service) { s.Ranges = "65535-65536" }, verdict.InvalidRequest,
			`annotation fairlead.io/port-ranges: "65535-65536" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP; the Service is served without port ranges`, "192.0.2.1:80 rr"},
		"a reversed range": {func(s *Service) { s.Ranges = "2000-1000/UDP" }, verdict.InvalidRequest,
			`annotation fairlead.io/port-ranges: "2000-1000/UDP" ends before it starts; the Service is served without port ranges`, "192.0.2.1:80 rr"},
		"overlapping ranges": {func(s *Service) { s.Ranges = "1000-2000,2000" }, verdict.InvalidRequest,
			"annotation fairlead.io/port-ranges: 1000-2000/TCP and 2000/TCP overlap; the Service is served without port ranges", "192.0.2.1:80 rr"},
		"a port that another Service has": {conflict, verdict.PortConflict, "192.0.2.9 80/TCP: Service x/good has it since earlier", ""},
		"an unknown scheduler": {func(s *Service) { s.Scheduler = "fastest" }, verdict.InvalidRequest,
			`annotation fairlead.io/ipvs-scheduler: "fastest" is none of the schedulers rr, wrr, lc, wlc, sh, mh, sed, nq, dh; rr is used`, "192.0.2.1:80 rr"},
		"a scheduler that the kernel lacks": {func(s *Service) { s.Scheduler = "mh" }, verdict.SchedulerUnavailable,
			"the kernel of node a has no module ip_vs_mh; rr is used", "192.0.2.1:80 rr"},
		"endpoints of the wrong family": {func(s *Service) { s.LoadBalancer[0] = netip.MustParseAddr("2001:db8::1") }, verdict.WrongFamily,
			"2001:db8::1: the endpoints are all of the other family", "[2001:db8::1]:80 rr"},
		"weights that are none": {func(s *Service) { s.Weights = "a=-1" }, verdict.InvalidRequest,
			`annotation fairlead.io/ipvs-weights: "a=-1" is not of the form node=weight with a weight from 0 to 65535; all real servers have the same weight`, "192.0.2.1:80 rr"},
	} {
		t.Run(name, func(t *testing.T) {
			service := func(name, address string, since int64) Service {
				return Service{
					Namespace: "x", Name: name, UID: name, AssignedAt: time.Unix(since, 0), LoadBalancer: []netip.Addr{netip.MustParseAddr(address)},
					Ports: []Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
					Slices: []*Slice{{
						Ports:     []Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 8080}},
						Endpoints: []Endpoint{{Address: netip.MustParseAddr("10.244.0.5"), Node: "a", Ready: true, Serving: true}},
					}},
				}
			}
			bad, good := service("bad", "192.0.2.1", 2), service("good", "192.0.2.9", 1)
			c.change(&bad)
			p := Build(&View{Node: "a", Lacking: []string{"mh"}, Services: []Service{bad, good}})
			var want []Verdict
			if c.reason != "" {
				want = []Verdict{{"x", "bad", verdict.Verdict{Reason: c.reason, Message: c.message}}}
			}
			if !slices.Equal(p.Verdicts, want) {
				t.Errorf("the verdicts are %v, want %v", p.Verdicts, want)
			}
			servers := []string{"192.0.2.9:80 rr"}
			if c.served != "" {
				servers = append(servers, c.served)
			}
			var got []string
			for _, s := range p.Servers {
				got = append(got, s.Address.String()+" "+s.Scheduler.String())
			}
			slices.Sort(got)
			slices.Sort(servers)
			if !slices.Equal(got, servers) {
				t.Errorf("served are %q, want %q", got, servers)
			}
		})
	}
}
