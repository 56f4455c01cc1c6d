package allocator

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/policy"
)

// crowd is n Services with two ports each, of which all but the last ones hold an address.
func crowd(p *policy.Policy, n, pending int) []Service {
	services := make([]Service, n)
	for i := range services {
		services[i] = svc(fmt.Sprintf("ns-%02d/service-%05d", i%40, i))
		services[i].UID = fmt.Sprintf("%08x-0000-0000-0000-%012x", i*7919, i)
		services[i].Created = epoch.Add(time.Duration(i*7919%n/4) * time.Second)
		services[i].Ports = []Port{{corev1.ProtocolTCP, 80}, {corev1.ProtocolTCP, 443}}
	}
	for i, d := range Decide(p, services[:n-pending]) {
		services[i] = after(services[i], d, i*7919%n)
	}
	return services
}

func BenchmarkDecide(b *testing.B) {
	pools := compile(pool("a", "10.0.0.0/16"))
	for _, c := range []struct {
		name       string
		policy     *policy.Policy
		n, pending int
		change     func(*Service)
	}{
		{"10000 assigned", pools, 10_000, 0, nil},
		{"10000, 1 of them pending", pools, 10_000, 1, nil},
		{"10000, 2000 of them pending", pools, 10_000, 2_000, nil},
		{"10000, 2000 of them pending and the pool full", compile(pool("a", "10.0.0.0-10.0.31.63")), 10_000, 2_000, nil},
		{"10000 with one address of two preferred", pools, 10_000, 0, prefer},
		{"10000 under one sharing key and port", pools, 10_000, 0, key("k")},
		{"10000 under one sharing key and port, 2000 of them pending and the pool full", compile(pool("a", "10.0.0.0-10.0.31.63", crossNamespace)), 10_000, 2_000, key("k")},
	} {
		b.Run(c.name, func(b *testing.B) {
			services := crowd(c.policy, c.n, c.pending)
			if c.change != nil {
				for i := range services {
					c.change(&services[i])
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				Decide(c.policy, services)
			}
		})
	}
}
