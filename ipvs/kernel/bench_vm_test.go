//go:build vm

package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// large is a view of 5,000 Services with 10 endpoints each.
func large() plan.View {
	v := plan.View{Node: "a", Drain: time.Minute, Internal: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}
	for i := range 5000 {
		s := plan.Service{Namespace: "x", Name: fmt.Sprint("s", i), UID: fmt.Sprint(i), LoadBalancer: []netip.Addr{netip.AddrFrom4([4]byte{10, 64, byte(i / 256), byte(i)})}}
		s.Ports = []plan.Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}}
		slice := &plan.Slice{Ports: []plan.Port{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 8080}}}
		for k := range 10 {
			n := i*10 + k
			slice.Endpoints = append(slice.Endpoints, plan.Endpoint{Address: netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)}), Node: "b", Ready: true, Serving: true})
		}
		s.Slices = []*plan.Slice{slice}
		v.Services = append(v.Services, s)
	}
	return v
}

// cpu is the time that this process has used, in the kernel too.
func cpu() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The limits at that size. A check is made every second, so 20 ms of a core are 2 % of it.
const (
	firstToBare = 2.0 // the first programming, to the bare loop
	// How many times longer the virtual machine takes than the one that it runs on: a plan takes 7 to 8 times as long, what
	// netlink lists at least 4 times.
	emulation, listEmulation = 8, 4

	changeLimit   = 20 * time.Millisecond * emulation
	checkLimit    = 20 * time.Millisecond * listEmulation
	residentLimit = 200 << 20
)

// BenchmarkLarge tells of 5,000 Services with 10 endpoints each: how long they take to program, against a bare loop of the
// same calls for servers; what a check costs, on average over a round of them; what one changed endpoint costs; and the
// memory. It fails where one of these is above its limit, which is for a machine that does nothing else.
func BenchmarkLarge(b *testing.B) {
	ctx := context.Background()
	v := large()
	p := plan.Build(&v)
	bare := openNamespace(b)
	began := time.Now()
	for i := range p.Servers {
		s := &p.Servers[i]
		if err := bare.Servers.Do(Change{Verb: AddServer, Frontend: s.Frontend, Settings: s.Settings}); err != nil {
			b.Fatal(err)
		}
		for _, r := range s.Reals {
			if err := bare.Servers.Do(Change{Verb: AddReal, Frontend: s.Frontend, Real: r}); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, a := range p.Addresses {
		if err := bare.Device.Add(Bound{Addr: a}); err != nil {
			b.Fatal(err)
		}
	}
	loop := time.Since(began)
	w := openNamespace(b)
	began = time.Now()
	if err := w.Apply(ctx, p); err != nil {
		b.Fatal(err)
	}
	first := time.Since(began)
	b.ReportMetric(loop.Seconds(), "bare-s")
	b.ReportMetric(first.Seconds(), "first-s")
	ratio := first.Seconds() / loop.Seconds()
	b.ReportMetric(ratio, "ratio")
	if ratio > firstToBare {
		b.Errorf("the first programming took %.2f times the bare loop, want at most %.1f", ratio, firstToBare)
	}
	used := cpu()
	for range checkRounds {
		if err := w.Check(ctx); err != nil {
			b.Fatal(err)
		}
	}
	check := (cpu() - used) / checkRounds
	b.ReportMetric(check.Seconds()*1000, "check-cpu-ms")
	if check > checkLimit {
		b.Errorf("a check takes %s of a core, want at most %s", check, checkLimit)
	}
	v.Services[2500].Slices[0].Endpoints = v.Services[2500].Slices[0].Endpoints[:9]
	used, began = cpu(), time.Now()
	p = plan.Build(&v)
	built := time.Since(began)
	if err := w.Apply(ctx, p); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(built.Seconds()*1000, "change-plan-ms")
	b.ReportMetric((cpu()-used).Seconds()*1000, "change-all-cpu-ms")
	if built > changeLimit {
		b.Errorf("one changed endpoint takes %s of computing, want at most %s", built, changeLimit)
	}
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); n == 1 {
			b.ReportMetric(float64(kilobytes)/1024, "peak-MiB")
			if kilobytes<<10 > residentLimit {
				b.Errorf("it took %d MiB, want less than %d", kilobytes>>10, residentLimit>>20)
			}
		}
	}
}

func openNamespace(b *testing.B) *world {
	ns := netnstest.New(b)
	return kernelWorld(b, ns)
}
