package policy

import (
	"math"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

func TestSize(t *testing.T) {
	type sizes struct{ v4, v6 uint64 }
	for name, c := range map[string]struct {
		addresses []string
		avoid     bool
		exclude   []string
		want      sizes
	}{
		"one address":                     {[]string{"192.0.2.1/32"}, false, nil, sizes{1, 0}},
		"several ranges":                  {[]string{"192.0.2.0/25", "192.0.2.200-192.0.2.209"}, false, nil, sizes{138, 0}},
		"both families":                   {[]string{"192.0.2.0/24", "fd00::/120"}, false, nil, sizes{256, 256}},
		"all of IPv4":                     {[]string{"0.0.0.0/0"}, false, nil, sizes{1 << 32, 0}},
		"all of IPv4, avoiding":           {[]string{"0.0.0.0/0"}, true, nil, sizes{1<<32 - 1<<25, 0}},
		"avoided":                         {[]string{"192.0.2.0/24"}, true, nil, sizes{254, 0}},
		"avoided at both ends":            {[]string{"192.0.2.255-192.0.3.0"}, true, nil, sizes{0, 0}},
		"avoided within":                  {[]string{"192.0.2.250-192.0.4.5"}, true, nil, sizes{268 - 4, 0}},
		"none to avoid":                   {[]string{"192.0.2.1-192.0.2.254"}, true, nil, sizes{254, 0}},
		"IPv6 avoids nothing":             {[]string{"fd00::/120"}, true, nil, sizes{0, 256}},
		"excluded":                        {[]string{"192.0.2.0/24"}, false, []string{"192.0.2.1", "192.0.2.250-192.0.3.10"}, sizes{256 - 7, 0}},
		"excluded and avoided count once": {[]string{"192.0.2.0/24"}, true, []string{"192.0.2.0", "192.0.2.250-192.0.3.10"}, sizes{256 - 6 - 1, 0}},
		"beyond 32 bits":                  {[]string{"fd00::/90"}, false, nil, sizes{0, 1 << 38}},
		"as much as int64 holds, and 1":   {[]string{"fd00::/65"}, false, nil, sizes{0, 1 << 63}},
		"more than 64 bits":               {[]string{"fd00::/64"}, false, nil, sizes{0, math.MaxUint64}},
	} {
		t.Run(name, func(t *testing.T) {
			p := poolOf(t, c.addresses, c.avoid, c.exclude)
			if got := (sizes{p.Size(IPv4), p.Size(IPv6)}); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// poolOf compiles one pool and, where something is excluded, an AddressPolicy for it.
func poolOf(t rapid.TB, addresses []string, avoid bool, exclude []string) *Pool {
	objects := Objects{Pools: []v1beta1.IPAddressPool{{
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: addresses, AvoidBuggyIPs: avoid},
	}}}
	if exclude != nil {
		objects.AddressPolicies = []v1alpha1.AddressPolicy{{
			ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "a"}, Spec: v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, Exclude: exclude},
		}}
	}
	p, problems := Compile(objects, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &p.Pools[0]
}

// TestSizeIsWhatThePoolGives compares with counting one by one.
func TestSizeIsWhatThePoolGives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 3).Draw(t, "third")), byte(rapid.IntRange(0, 255).Draw(t, "last"))})
		to := plus(from, rapid.Uint64Range(0, 700).Draw(t, "more"))
		var exclude []string
		for range rapid.IntRange(0, 3).Draw(t, "excluded") {
			a := plus(netip.MustParseAddr("10.0.0.0"), rapid.Uint64Range(0, 1500).Draw(t, "a"))
			exclude = append(exclude, Range{a, plus(a, rapid.Uint64Range(1, 300).Draw(t, "n"))}.String())
		}
		p := poolOf(t, []string{from.String() + "-" + to.String()}, rapid.Bool().Draw(t, "avoid"), exclude)
		var want uint64
		for a := from; !to.Less(a); a = a.Next() {
			if p.Gives(a) != p.Counts(a) {
				t.Fatalf("%s: given %t, counted %t", a, p.Gives(a), p.Counts(a))
			}
			if p.Gives(a) {
				want++
			}
		}
		if got := p.Size(IPv4); got != want {
			t.Fatalf("%s-%s without %v: %d, want %d", from, to, exclude, got, want)
		}
	})
}
