//go:build vm

package kernel

import (
	"log/slog"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// kernelWorld is the kernel of the virtual machine, in a network namespace of its own.
func kernelWorld(t testing.TB, ns *netnstest.NS) *world {
	t.Helper()
	run := func(args ...string) func(*testing.T) {
		return func(t *testing.T) { ns.Command(t, args[0], args[1:]...) }
	}
	w := &world{now: time.Now(), flush: run("ipvsadm", "-C"), lose: run("nft", "delete", "table", "ip6", TableName)}
	w.restart = func() *Programmer {
		p := &Programmer{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }}
		ns.Do(func() { p.Servers, p.Device, p.Filter = openAll(t) })
		return p
	}
	w.Programmer = w.restart()
	return w
}

// openAll opens the sockets in the namespace of the calling thread. Sockets of the IPVS family need its module.
func openAll(t testing.TB) (*IPVS, *Dummy, *Table) {
	if out, err := exec.Command("modprobe", "ip_vs").CombinedOutput(); err != nil {
		t.Errorf("modprobe ip_vs: %v\n%s", err, out)
	}
	s, err := OpenIPVS()
	if err != nil {
		t.Error(err)
	}
	d, err := OpenDummy()
	if err != nil {
		t.Error(err)
	}
	f, err := OpenTable()
	if err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		s.Close()
		d.Close()
		f.Close()
	})
	return s, d, f
}

// TestKernel runs the table of cases on the kernel.
func TestKernel(t *testing.T) {
	for name, f := range cases() {
		t.Run(name, func(t *testing.T) {
			w := kernelWorld(t, netnstest.New(t))
			f(t, w)
		})
	}
}

// TestTools: what people see of everything, with the tools that they know.
func TestTools(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns := netnstest.New(t)
	w := kernelWorld(t, ns)
	must(t, w.Apply(t.Context(), everything()))
	got := ns.Command(t, "ipvsadm", "-Sn")
	for _, line := range []string{
		"-A -t 192.0.2.1:80 -s rr",
		"-a -t 192.0.2.1:80 -r 10.244.0.5:8080 -m -w 1",
		"-A -f 7 -s mh -p 60 -b mh-fallback,mh-port",
		"-a -f 7 -r 10.244.0.5:0 -m -w 1",
		"-A -f 7 -6 -s mh -p 60 -b mh-fallback,mh-port",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("ipvsadm -Sn has no line %q:\n%s", line, got)
		}
	}
	got = ns.Command(t, "nft", "list", "ruleset")
	for _, part := range []string{
		"192.0.2.1 . udp . 1000-2000",
		"ct original ip daddr . meta l4proto . ct original proto-dst @masquerade masquerade fully-random",
		"ct original ip6 daddr . meta l4proto . ct original proto-dst @preserve accept",
		"priority 97",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("nft shows no %q:\n%s", part, got)
		}
	}
	if got := ns.Command(t, "ip", "-br", "link", "show", DeviceName); !strings.Contains(got, "DOWN") || !strings.Contains(got, "NOARP") {
		t.Errorf("the device is not down and without ARP: %s", got)
	}
}
