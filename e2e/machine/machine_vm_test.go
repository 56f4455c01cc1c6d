//go:build vm

package machine

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestKernel runs in the machine, and shows that it has what the tests of edges count on.
func TestKernel(t *testing.T) {
	if _, err := os.Stat("/t/program"); err != nil {
		t.Fatal("this test runs in a virtual machine: make test-vm")
	}
	for _, line := range []string{
		"ip link add d0 type dummy",
		"ip link add v0 type vrf table 10",
		"ip link add link d0 name d0.7 type vlan id 7",
		"ip link add b0 type bridge",
		"modprobe ip_vs",
		"ipvsadm -A -t 10.0.0.1:80 -s mh -b mh-fallback,mh-port",
		"ipvsadm -A -f 7 -6 -s wlc -p 60",
		"nft add table inet x",
		"nft add chain inet x c { type nat hook postrouting priority 99 ; }",
		"nft add rule inet x c ct original ip daddr 10.0.0.1 masquerade fully-random",
		"nft add table arp x",
		"conntrack -L",
	} {
		f := strings.Fields(line)
		if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}
