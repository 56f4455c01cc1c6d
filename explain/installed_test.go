package explain

import (
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/allocator"
)

// TestInstalled: a namespace without Fairlead is told with the one that has it, and parts of different versions are told with
// what to do.
func TestInstalled(t *testing.T) {
	v := healthy()
	if err := v.Installed(); err != nil {
		t.Error(err)
	}
	v.Elsewhere = []string{"lb", "other"}
	if err := v.Installed(); err == nil || err.Error() != `there is no Fairlead in namespace "metallb-system", but there is in "lb", "other": give --namespace lb` {
		t.Error(err)
	}
	v = healthy()
	v.Lacking = []string{"AddressPolicy.spec.reuseDelay"}
	if s := OfCluster(v); len(s.Notes) != 1 || s.Notes[0] != "the cluster's definitions are older than this version and lack AddressPolicy.spec.reuseDelay: apply the CustomResourceDefinitions of this version (config/crd)" {
		t.Error(s.Notes)
	}
	for name, c := range map[string]struct {
		mine, n1, n2 string
		want         string // "": nothing
	}{
		"one version":         {"v1", "v1", "v1", ""},
		"not known whose":     {"", "v1", "v1", ""},
		"nobody says":         {"v1", "", "", ""},
		"half upgraded":       {"v2", "v1", "v2", "the nodes run different versions, v1 on n1, v2 on n2: an upgrade is under way, or has stopped: see kubectl -n metallb-system rollout status daemonset/fairlead-speaker"},
		"who asks is another": {"v2", "v1", "v1", "the nodes run version v1, and this answer comes from version v2, which may decide otherwise: use the same version"},
	} {
		v := healthy()
		v.Version, v.Speakers[0].State.Version, v.Speakers[1].State.Version = c.mine, c.n1, c.n2
		s := OfCluster(v)
		if got := strings.Join(s.Notes, "\n"); got != c.want {
			t.Errorf("%s: %q\nwant %q", name, got, c.want)
		}
		e, err := OfService(v, allocator.Key{Namespace: "default", Name: "web"})
		if err != nil || !e.OK || strings.Join(e.Notes, "\n") != c.want {
			t.Errorf("%s: %v %+v", name, err, e)
		}
		var b strings.Builder
		if err := s.Write(&b, Style{}); err != nil || strings.Contains(b.String(), "\nnote: "+c.want) != (c.want != "") {
			t.Errorf("%s: %v\n%s", name, err, &b)
		}
	}
}
