//go:build linux && (bench || soak)

package bfd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

const (
	// measured is how long CPU time is measured.
	measured = 10 * time.Second
	// childVariable tells a process that it is a child of a benchmark: side, sessions, interval, duration.
	childVariable = "FAIRLEAD_BFD_CHILD"
)

// TestMain is also the main function of the children.
func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		if err := child(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkSessions prints which share of a core a process takes that holds sessions with another one, each in a process
// of its own as in life. What the kernel does to deliver a packet counts as the sender's.
func BenchmarkSessions(b *testing.B) {
	for _, c := range []struct {
		sessions int
		interval time.Duration
	}{{1, 50 * time.Millisecond}, {100, 50 * time.Millisecond}, {100, 300 * time.Millisecond}, {1000, 300 * time.Millisecond}} {
		b.Run(fmt.Sprintf("%dx%v", c.sessions, c.interval), func(b *testing.B) {
			for b.Loop() {
				r := meshed(b, c.sessions, c.interval, measured)
				b.ReportMetric(r.core, "%core")
				b.ReportMetric(r.perPacket, "µs/packet")
				b.ReportMetric(r.rate, "packets/s")
				if r.downs > 0 {
					b.Errorf("sessions went down %d times", r.downs)
				}
			}
		})
	}
}

// result is what a child measured of itself.
type result struct {
	core, perPacket, rate float64
	downs                 uint64
}

// meshed runs two processes with so many sessions between them, and returns what one measured once all were Up.
func meshed(t testing.TB, sessions int, interval, duration time.Duration) result {
	t.Helper()
	nsX, nsY := pair(t)
	for i := range sessions {
		x, y := ends(i)
		nsX.Command(t, "ip", "addr", "add", x.String()+"/16", "dev", "wire")
		nsY.Command(t, "ip", "addr", "add", y.String()+"/16", "dev", "wire")
	}
	other := start(t, nsY, fmt.Sprintf("y %d %v %v", sessions, interval, time.Hour))
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	var out strings.Builder
	one := command(fmt.Sprintf("x %d %v %v", sessions, interval, duration))
	one.Stdout = &out
	var err error
	nsX.Do(func() { err = one.Run() })
	var r result
	if n, scan := fmt.Sscan(out.String(), &r.core, &r.perPacket, &r.rate, &r.downs); err != nil || n != 4 {
		t.Fatalf("the child says %q: %v, %v", out.String(), err, scan)
	}
	return r
}

func command(what string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+what)
	cmd.Stderr = os.Stderr
	return cmd
}

func start(t testing.TB, ns *netnstest.NS, what string) *exec.Cmd {
	t.Helper()
	cmd := command(what)
	in, err := cmd.StdinPipe() // which ends with this process, and the child with it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

// ends returns the addresses of a session.
func ends(i int) (x, y netip.Addr) {
	return netip.AddrFrom4([4]byte{10, 7, byte(i >> 8), byte(i)}), netip.AddrFrom4([4]byte{10, 7, byte(i>>8) + 16, byte(i)})
}

// child holds one end of every session. Once all are Up it measures itself and prints the result.
func child(what string) error {
	var side, every, during string
	var sessions int
	if _, err := fmt.Sscan(what, &side, &sessions, &every, &during); err != nil {
		return err
	}
	interval, err := time.ParseDuration(every)
	if err != nil {
		return err
	}
	duration, err := time.ParseDuration(during)
	if err != nil {
		return err
	}
	if side == "y" {
		go func() {
			_, _ = os.Stdin.Read(make([]byte, 1)) // the parent is gone
			os.Exit(1)
		}()
	}
	m := New(Config{Log: slog.New(slog.DiscardHandler)})
	go func() { _ = m.Run(context.Background()) }()
	var want []Session
	for i := range sessions {
		local, peer := ends(i)
		if side == "y" {
			local, peer = peer, local
		}
		want = append(want, Session{
			Path{Peer: peer, Local: local},
			Parameters{DesiredMinTx: interval, RequiredMinRx: interval, DetectMultiplier: 3},
		})
	}
	if err := m.Apply(context.Background(), want); err != nil {
		return err
	}
	for !allUp(m, interval) {
		time.Sleep(10 * time.Millisecond)
	}
	return measure(m, duration)
}

func allUp(m *Monitor, interval time.Duration) bool {
	for _, s := range m.States() {
		if s.Local != Up || s.TransmitInterval != interval {
			return false
		}
	}
	return true
}

func measure(m *Monitor, duration time.Duration) error {
	before, begin := cpu(), m.Counters().Sent
	time.Sleep(duration)
	used, sent := cpu()-before, m.Counters().Sent-begin
	var downs uint64
	for _, s := range m.States() {
		downs += s.Downs
	}
	_, err := fmt.Println(100*used.Seconds()/duration.Seconds(), float64(used.Microseconds())/float64(sent), float64(sent)/duration.Seconds(), downs)
	return err
}

// cpu is the CPU time that this process took so far.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
