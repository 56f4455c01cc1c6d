//go:build vm && soak

package ipvs

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// TestKubeProxyWithExcludeCIDRs: with the lines that the programmer names, kube-proxy in IPVS mode does not try to delete
// firewall-mark servers any more, and goes on deleting others, but for those in CIDRs that are excluded, too.
func TestKubeProxyWithExcludeCIDRs(t *testing.T) {
	b := besideKubeProxy(t)
	log, end := b.kubeProxy(b.a, plan.ProxyIPVS, "--ipvs-exclude-cidrs="+strings.Join(excludeCIDRs(), ",")+",203.0.113.0/24")
	defer end()
	b.sees(plan.ProxyIPVS)
	deleted, excluded := b.foreign("198.51.100.9:80"), b.foreign("203.0.113.9:80")
	for range 2 {
		b.stays(log, func(time.Duration) bool { return !deleted() })
		deleted = b.foreign("198.51.100.9:80")
	}
	if !excluded() {
		t.Errorf("a server in an excluded CIDR was deleted:\n%s", log())
	}
	if strings.Contains(log(), triesInVain) {
		t.Errorf("kube-proxy tries to delete firewall-mark servers:\n%s", log())
	}
}

// TestKubeProxy: beside the real kube-proxy the address is served in nftables mode after a start that empties the table of
// IPVS, and in iptables mode.
func TestKubeProxy(t *testing.T) {
	b := besideKubeProxy(t)
	for _, mode := range []plan.Proxy{plan.ProxyNFTables, plan.ProxyIPTables} {
		log, end := b.kubeProxy(b.a, mode)
		b.sees(mode)
		netnstest.Eventually(t, 10*patience, func() error { return b.quick(web4, "10.0.0.1") })
		if got := b.a.Command(t, "ipvsadm", "-Ln"); !strings.Contains(got, web4) {
			t.Errorf("beside kube-proxy in mode %s there is no server with the address:\n%s", mode, got)
		}
		b.stays(log, func(d time.Duration) bool { return d > 2*time.Second })
		end()
	}
}
