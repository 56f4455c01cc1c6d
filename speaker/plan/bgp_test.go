package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// model returns the routes of the view's node by a plain scan of everything.
func model(v *View) map[string]policy.Communities {
	out := map[string]policy.Communities{}
	own := slices.IndexFunc(v.Nodes, func(n Node) bool { return n.Name == v.Node })
	if own < 0 {
		return out
	}
	n := v.Nodes[own]
	if n.Excluded && !v.IgnoreExcludeLabel || n.OutOfService || n.NetworkUnavailable {
		return out
	}
	for _, s := range v.Services {
		if !s.Serving || s.Local && !slices.Contains(s.ServingNodes, v.Node) {
			continue
		}
		for _, a := range s.Addresses {
			if slices.Contains(s.Proxy, a) && !slices.Contains(v.Programmed[a], v.Node) {
				continue
			}
			for i := range v.Policy.BGPAds {
				ad := &v.Policy.BGPAds[i]
				if !ad.SelectsService(s.Labels) || !ad.SelectsNode(n.Labels) {
					continue
				}
				for _, p := range v.Policy.Peers {
					yields := slices.ContainsFunc(v.Policy.Peers, func(o policy.Peer) bool {
						return slices.Contains(p.Yields, o.Name) && o.SelectsNode(n.Labels)
					})
					if !yields && p.SelectsNode(n.Labels) && ad.SelectsPeer(p.Name) && p.Carries(policy.FamilyOf(a)) {
						key := fmt.Sprint(p.Name, " ", ad.Prefix(a, "p"))
						out[key] = out[key].Union(ad.Communities)
					}
				}
			}
		}
	}
	return out
}

func TestRoutesAreThoseOfTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		v.Node = someNode.Draw(t, "own node")
		p := Build(&v)
		got := map[string]policy.Communities{}
		for _, r := range p.Routes {
			key := fmt.Sprint(r.Peer, " ", r.Prefix)
			if _, twice := got[key]; twice {
				t.Fatalf("route %s stands there twice", key)
			}
			got[key] = r.Communities
			if !slices.ContainsFunc(p.Sessions, func(s Session) bool { return s.Peer == r.Peer }) {
				t.Fatalf("route %s has no session", key)
			}
		}
		if want := model(&v); !maps.Equal(got, want) {
			t.Fatalf("routes %v, want %v", got, want)
		}
		neighbors := map[netip.Addr]string{}
		for _, s := range p.Sessions {
			if other, ok := neighbors[s.Address]; ok {
				t.Fatalf("sessions %s and %s are with one neighbor", s.Peer, other)
			}
			neighbors[s.Address] = s.Peer
		}
	})
}

// TestBGPVerdictsTellTheRoutes: who is said to be told of an address has a route for it, and a route has its reason.
func TestBGPVerdictsTellTheRoutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		v.Node = someNode.Draw(t, "own node")
		p := Build(&v)
		told := map[string]bool{}
		for _, x := range p.BGP {
			if (x.Reason == verdict.Announced) != (len(x.Peers) > 0) || x.Message == "" {
				t.Fatalf("%+v", x)
			}
			for _, peer := range x.Peers {
				covered := false
				for _, r := range p.Routes {
					if r.Peer == peer && r.Prefix.Contains(x.Address) {
						covered = true
						told[fmt.Sprint(peer, r.Prefix)] = true
					}
				}
				if !covered {
					t.Fatalf("%s: no route", x.Message)
				}
			}
		}
		for _, r := range p.Routes {
			if !told[fmt.Sprint(r.Peer, r.Prefix)] {
				t.Fatalf("route %v is told by no verdict", r)
			}
		}
	})
}

// TestWeights: they count serving endpoints on this node, wherever any route of the prefix asks for them.
func TestWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := unshared(drawView(t))
		v.Node = v.Nodes[0].Name
		for _, r := range Build(&v).Routes {
			if r.Weight == 0 {
				continue
			}
			var n uint32
			for _, s := range v.Services {
				for _, a := range s.Addresses {
					if r.Prefix.Contains(a) && r.Prefix.IsSingleIP() {
						n += s.on(v.Node)
					}
				}
			}
			if r.Prefix.IsSingleIP() && r.Weight != max(n, 1) {
				t.Fatalf("%v, with %d endpoints", r, n)
			}
		}
	})
}

// TestEveryAddressIsTold: by one protocol or the other, whatever the view holds.
func TestEveryAddressIsTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		v.Node = rapid.SampledFrom([]string{"a", "b", "stranger", ""}).Draw(t, "own node")
		stray := rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")}).Draw(t, "stray")
		v.Services[0].Addresses = append(slices.Clone(v.Services[0].Addresses), stray, stray)
		p := Build(&v)
		type key struct {
			name    string
			address netip.Addr
		}
		told := map[key]bool{}
		for _, x := range p.Verdicts {
			told[key{x.Name, x.Address}] = true
		}
		for _, x := range p.BGP {
			told[key{x.Name, x.Address}] = true
		}
		for _, s := range v.Services {
			for _, a := range s.Addresses {
				if a.IsValid() && !told[key{s.Name, a}] {
					t.Fatalf("%s of %s is not told", a, s.Name)
				}
			}
		}
	})
}

func TestSecretsAreHidden(t *testing.T) {
	s := Session{Password: "pass-phrase"}
	for _, text := range []string{fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), s.Password.LogValue().String()} {
		if strings.Contains(text, "pass-phrase") || text == "" {
			t.Error(text)
		}
	}
}

func TestListed(t *testing.T) {
	names := strings.Split("abcdefghijkl", "")
	for n, want := range map[int]string{0: "none", 1: `"a"`, 2: `"a", "b"`, 12: `"a", "b", "c", "d", "e", "f", "g", "h", "i", "j" and 2 more`} {
		if got := listed(names[:n]); got != want {
			t.Errorf("%d names are %s, want %s", n, got, want)
		}
	}
}
