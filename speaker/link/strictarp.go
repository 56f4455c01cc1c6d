//go:build linux

package link

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// ipvsDevice is where kube-proxy in IPVS mode puts the addresses of Services, those of load balancers too.
const ipvsDevice = "kube-ipvs0"

// KernelAnswers says for which links the kernel answers ARP requests in the speaker's place, with sentences for a log:
// kube-proxy in IPVS mode gives every node the addresses of all Services, and unless arp_ignore keeps it from it
// (kube-proxy's strictARP), the kernel of every node answers for addresses on other interfaces than the one that is
// asked (ip-sysctl.rst). IPv6 is not concerned: neighbor discovery only answers for addresses of the interface itself.
// sysctl is /proc/sys of the network namespace, from which it only reads, and names are the links' names.
func KernelAnswers(sysctl fs.FS, names []string) []string {
	if _, err := fs.Stat(sysctl, "net/ipv4/conf/"+ipvsDevice); err != nil {
		return nil
	}
	var out []string
	for _, name := range names {
		ignore, err := arpIgnore(sysctl, name)
		switch {
		case err != nil:
			out = append(out, fmt.Sprintf("the kernel may answer ARP on %s for addresses on %s in the speaker's place: %v", name, ipvsDevice, err))
		case !ignoresOthers(ignore):
			out = append(out, fmt.Sprintf("the kernel answers ARP on %s for addresses on %s in the speaker's place, since arp_ignore is %d: "+
				"set strictARP in kube-proxy's configuration, or net.ipv4.conf.all.arp_ignore=1", name, ipvsDevice, ignore))
		}
	}
	return out
}

// ignoresOthers reports whether the kernel does not answer for addresses of other interfaces, at a value of arp_ignore: 1
// and 2 want the address on the interface, 8 answers for none.
func ignoresOthers(arpIgnore int) bool { return arpIgnore == 1 || arpIgnore == 2 || arpIgnore == 8 }

// arpIgnore returns the value that the kernel uses for requests on an interface: the larger one of its own and of all.
func arpIgnore(sysctl fs.FS, name string) (int, error) {
	largest := 0
	for _, conf := range []string{"all", name} {
		text, err := fs.ReadFile(sysctl, "net/ipv4/conf/"+conf+"/arp_ignore")
		if err != nil {
			return 0, err
		}
		value, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return 0, fmt.Errorf("arp_ignore of %s: %w", conf, err)
		}
		largest = max(largest, value)
	}
	return largest, nil
}
