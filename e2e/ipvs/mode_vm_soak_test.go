//go:build vm && soak

package ipvs

import (
	"fmt"
	"testing"
)

// long is the form of the stories that takes minutes under emulation.
const long = true

// TestMainJobBesideIPVSMode: the same beside kube-proxy in IPVS mode, without strictARP, which the speaker warns of, and
// with it.
func TestMainJobBesideIPVSMode(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strictARP=%v", strict), func(t *testing.T) {
			s := begin(t, "ipvs")
			for i := range lab.Nodes() {
				p, err := lab.RestartProxy(s.ctx, i, "--proxy-mode=ipvs", fmt.Sprintf("--ipvs-strict-arp=%v", strict), "--ipvs-sync-period=2s", "--ipvs-min-sync-period=1s")
				s.must(err)
				s.proxies = append(s.proxies, p)
			}
			s.onNodes("served by kube-proxy", s.kubeProxyServes, true)
			answering := 2 // without strictARP every kernel answers for what kube-proxy gave it
			if strict {
				answering = 1
			} else {
				s.explain([]string{"node", "node-0"}, "set strictARP in kube-proxy's configuration")
			}
			s.eventually(fmt.Sprintf("%d nodes answer for the address", answering), func() error {
				if who := s.whoHas(); len(who) != answering {
					return fmt.Errorf("%v answer", who)
				}
				return nil
			})
			s.mainJob()
		})
	}
}
