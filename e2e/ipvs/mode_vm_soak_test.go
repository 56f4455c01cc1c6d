//go:build vm && soak

package ipvs

import (
	"fmt"
	"testing"
)

// TestMainJobBesideIPVSMode: the same beside kube-proxy in IPVS mode, without strictARP, of which the speaker warns, and with
// it.
func TestMainJobBesideIPVSMode(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strictARP=%v", strict), func(t *testing.T) {
			s := begin(t, "ipvs")
			s.restartProxies("--proxy-mode=ipvs", fmt.Sprintf("--ipvs-strict-arp=%v", strict))
			s.onNodes("served by kube-proxy", s.kubeProxyServes, true)
			answering := len(lab.Nodes()) // without strictARP every kernel answers for what kube-proxy gave it
			if strict {
				answering = 1
			} else {
				s.lax = true
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
