package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// TestSincePublished: of three links that were published, the digest says what became of them since.
func TestSincePublished(t *testing.T) {
	states := []LinkState{
		{Link: Link{Name: "eth0"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2001:db8::1/64")}},
		{Link: Link{Name: "eth1"}, Unsettled: true},
		{Link: Link{Name: "eth2"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24")}},
	}
	var published []NodeLink
	for i := range states {
		published = append(published, states[i].Published())
	}
	unsettled := func(l LinkState, is bool) LinkState { l.Unsettled = is; return l }
	before := fmt.Sprint(published)
	for name, c := range map[string]struct {
		now  []LinkState
		want string // the names of those that are up, with ? for those that are unsettled
	}{
		"nothing changed":            {states, "eth0 eth1? eth2"},
		"one is down":                {slices.Concat(states[:1], states[2:]), "eth0 eth2"},
		"two are down":               {states[2:], "eth2"},
		"all are down":               {nil, ""},
		"another address is no news": {[]LinkState{{Link: Link{Name: "eth0"}, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::7/64"), netip.MustParsePrefix("192.0.2.9/24")}}, states[1], states[2]}, "eth0 eth1? eth2"},
		"one is new":                 {append(slices.Clone(states), LinkState{Link: Link{Name: "eth3"}}), "eth0 eth1? eth2"},
		"one has settled":            {[]LinkState{states[0], unsettled(states[1], false), states[2]}, "eth0 eth1 eth2"},
		"one was down and is back":   {[]LinkState{unsettled(states[0], true), states[1], states[2]}, "eth0? eth1? eth2"},
		"one settled, one is back":   {[]LinkState{states[0], unsettled(states[1], false), unsettled(states[2], true)}, "eth0 eth1 eth2?"},
		"one is down, one is back":   {[]LinkState{states[1], unsettled(states[2], true)}, "eth1? eth2?"},
		"one settled, one is down":   {[]LinkState{states[0], unsettled(states[1], false)}, "eth0 eth1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, l := range Since(published, DigestOf(c.now)) {
				if l.Up {
					got += " " + l.Name
					if l.Unsettled {
						got += "?"
					}
				}
			}
			if got != c.want && got != " "+c.want {
				t.Errorf("up are%s, want %s", got, c.want)
			}
			if fmt.Sprint(published) != before {
				t.Fatal("what was published was changed")
			}
		})
	}
}
