package allocator

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/policy"
)

func TestUsage(t *testing.T) {
	pool := func(name string, avoid bool, addresses ...string) v1beta1.IPAddressPool {
		return v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses, AvoidBuggyIPs: avoid}}
	}
	const most = math.MaxInt64
	for name, c := range map[string]struct {
		pool    v1beta1.IPAddressPool
		exclude []string
		held    [][]string // by Service
		want    Usage
	}{
		"nothing in use":                        {pool("p", false, "10.0.0.0/24"), nil, nil, Usage{IPv4: Count{0, 256}}},
		"some":                                  {pool("p", false, "10.0.0.0/24"), nil, [][]string{{"10.0.0.1"}, {"10.0.0.2"}}, Usage{IPv4: Count{2, 254}, Services: 2}},
		"shared":                                {pool("p", false, "10.0.0.0/24"), nil, [][]string{{"10.0.0.1"}, {"10.0.0.1"}, {"10.0.0.1"}}, Usage{IPv4: Count{1, 255}, Services: 3}},
		"both families":                         {pool("p", false, "10.0.0.0/30", "fd00::/126"), nil, [][]string{{"10.0.0.1", "fd00::1"}, {"fd00::2"}}, Usage{IPv4: Count{1, 3}, IPv6: Count{2, 2}, Services: 2}},
		"full":                                  {pool("p", false, "10.0.0.0/31"), nil, [][]string{{"10.0.0.0"}, {"10.0.0.1"}}, Usage{IPv4: Count{2, 0}, Services: 2}},
		"avoided":                               {pool("p", true, "10.0.0.0/24"), nil, [][]string{{"10.0.0.1"}}, Usage{IPv4: Count{1, 253}, Services: 1}},
		"avoided now, but in use":               {pool("p", true, "10.0.0.0/24"), nil, [][]string{{"10.0.0.0"}, {"10.0.0.1"}}, Usage{IPv4: Count{2, 253}, Services: 2}},
		"excluded":                              {pool("p", false, "10.0.0.0/24"), []string{"10.0.0.1", "10.0.0.9"}, nil, Usage{IPv4: Count{0, 254}}},
		"excluded now, but in use":              {pool("p", false, "10.0.0.0/24"), []string{"10.0.0.1", "10.0.0.9"}, [][]string{{"10.0.0.1"}, {"10.0.0.2"}}, Usage{IPv4: Count{2, 253}, Services: 2}},
		"in no pool":                            {pool("p", false, "10.0.0.0/24"), nil, [][]string{{"10.9.0.1"}}, Usage{IPv4: Count{0, 256}}},
		"a /65, one more than int64 holds":      {pool("p", false, "fd00::/65"), nil, nil, Usage{IPv6: Count{0, most}}},
		"a /65, exactly what int64 holds":       {pool("p", false, "fd00::/65"), nil, [][]string{{"fd00::1"}}, Usage{IPv6: Count{1, most}, Services: 1}},
		"a /65, exact":                          {pool("p", false, "fd00::/65"), nil, [][]string{{"fd00::1"}, {"fd00::2"}}, Usage{IPv6: Count{2, most - 1}, Services: 2}},
		"a /64, of which no number can be told": {pool("p", false, "fd00::/64"), nil, [][]string{{"fd00::1"}, {"fd00::2"}}, Usage{IPv6: Count{2, most}, Services: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := policy.Objects{Pools: []v1beta1.IPAddressPool{c.pool, pool("another", false, "10.1.0.0/32")}}
			if c.exclude != nil {
				objects.AddressPolicies = []v1alpha1.AddressPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, Exclude: c.exclude}}}
			}
			p, problems := policy.Compile(objects, nil)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			decisions := []Decision{{}} // of a Service that waits
			for _, addresses := range c.held {
				var d Decision
				for _, a := range addresses {
					d.Addresses = append(d.Addresses, netip.MustParseAddr(a))
				}
				decisions = append(decisions, d)
			}
			c.want.Pool = "p"
			want := []Usage{{Pool: "another", IPv4: Count{0, 1}}, c.want}
			if diff := cmp.Diff(want, UsageOf(p, decisions)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func BenchmarkUsage(b *testing.B) {
	p, _ := policy.Compile(policy.Objects{Pools: []v1beta1.IPAddressPool{{Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.0.0.0/8"}}}}}, nil)
	decisions := make([]Decision, 10_000)
	for i := range decisions {
		decisions[i].Addresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.1.%d.%d", i/250, i%250))}
	}
	for b.Loop() {
		UsageOf(p, decisions)
	}
}
