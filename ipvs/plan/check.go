package plan

import (
	"cmp"
	"net/netip"
)

// Check is the question, which load balancers outside the cluster ask on a healthCheckNodePort, whether this node has
// endpoints of a Service, with the answer. It is comparable.
type Check struct {
	Namespace, Name string
	Port            uint16
	Local           int // ready endpoints on this node
}

func (c Check) compare(o Check) int {
	return cmp.Or(cmp.Compare(c.Port, o.Port), cmp.Compare(c.Namespace, o.Namespace), cmp.Compare(c.Name, o.Name))
}

// check adds the health check of a Service. An endpoint that is being deleted takes connections that come all the same, and
// counts no more, so that none do. A pod with addresses of both families counts once.
func (b *builder) check(s *Service) {
	if s.HealthPort == 0 || !s.ExternalLocal {
		return
	}
	seen := map[netip.Addr]bool{}
	var local [2]int // by family
	for i := range s.Slices {
		for _, e := range s.Slices[i].Endpoints {
			if !e.Ready || e.Node != b.Node || seen[e.Address] {
				continue
			}
			seen[e.Address] = true
			if e.Address.Is6() {
				local[1]++
			} else {
				local[0]++
			}
		}
	}
	b.plan.Checks = append(b.plan.Checks, Check{s.Namespace, s.Name, s.HealthPort, max(local[0], local[1])})
}
