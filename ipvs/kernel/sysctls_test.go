package kernel

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// proc is a /proc/sys with these settings, and the record beside it.
func proc(t *testing.T, settings map[string]string) *Sysctls {
	t.Helper()
	dir := t.TempDir()
	s := &Sysctls{Proc: filepath.Join(dir, "sys"), Record: filepath.Join(dir, "run", "record.json")}
	for name, value := range settings {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(s.Proc, name)), 0o755))
		must(t, s.write(name, value))
	}
	return s
}

func expectSettings(t *testing.T, s *Sysctls, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got, err := s.read(name); err != nil || got != value {
			t.Errorf("%s is %q (%v), want %q", name, got, err, value)
		}
	}
}

func fresh() map[string]string {
	return map[string]string{ipForward: "0", conntrack: "0", expireNoDest: "0", expireTemplates: "1", announce("eth0"): "0", announce("eth1"): "1", reservedPorts: ""}
}

// TestSettings: what is needed is set; what was changed is given back, by another process too, but for what others may rely
// on and what somebody changed since.
func TestSettings(t *testing.T) {
	s := proc(t, fresh())
	must(t, s.Apply([]string{"eth0", "eth1", "gone"}, nil))
	expectSettings(t, s, map[string]string{ipForward: "1", conntrack: "1", expireNoDest: "1", expireTemplates: "1", announce("eth0"): "2", announce("eth1"): "2"})
	must(t, s.Apply([]string{"eth0", "eth1"}, nil)) // what it finds now is not what there was before
	must(t, s.write(announce("eth1"), "0"))
	again := &Sysctls{Proc: s.Proc, Record: s.Record}
	must(t, again.Restore())
	expectSettings(t, s, map[string]string{ipForward: "1", conntrack: "1", expireNoDest: "0", expireTemplates: "1", announce("eth0"): "0", announce("eth1"): "0"})
	if _, err := os.Stat(s.Record); err == nil {
		t.Error("the record is still there")
	}
	must(t, again.Restore())
}

// TestSettingsAreShown: what is changed and given back stands in the log, with what it was, once.
func TestSettingsAreShown(t *testing.T) {
	s := proc(t, fresh())
	var log bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		must(t, s.Apply([]string{"eth0"}, nil))
	}
	must(t, s.Restore())
	for _, want := range []string{"sysctl=net.ipv4.ip_forward from=0 to=1", "sysctl=net.ipv4.conf.eth0.arp_announce from=0 to=2", "sysctl=net.ipv4.conf.eth0.arp_announce from=2 to=0"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("the log has %q %d times, want once:\n%s", want, n, log.String())
		}
	}
}

// TestSettingsMissing: a setting that cannot be made is named, and the others are made.
func TestSettingsMissing(t *testing.T) {
	have := fresh()
	delete(have, conntrack)
	s := proc(t, have)
	if err := s.Apply(nil, nil); err == nil || !strings.Contains(err.Error(), conntrack) {
		t.Errorf("the error is %v", err)
	}
	expectSettings(t, s, map[string]string{ipForward: "1", expireNoDest: "1"})
}

// TestReservedPorts: the kernel's list is the union of what there was and what is wanted, and only what we added goes.
func TestReservedPorts(t *testing.T) {
	have := fresh()
	have[reservedPorts] = "8080,33000-33010"
	s := proc(t, have)
	reserve := func(want string, ranges ...portrange.Range) {
		t.Helper()
		must(t, (&Sysctls{Proc: s.Proc, Record: s.Record}).Apply(nil, ranges))
		expectSettings(t, s, map[string]string{reservedPorts: want})
	}
	reserve("8080,33000-33010")
	reserve("8080,33000-33020", portrange.Range{Protocol: "TCP", First: 33005, Last: 33020})
	must(t, s.write(reservedPorts, "22,8080,33000-33020")) // somebody else adds one
	reserve("22,8080,33000-33010,40000", portrange.Port("UDP", 40000))
	must(t, s.Restore())
	expectSettings(t, s, map[string]string{reservedPorts: "22,8080,33000-33010"})
	// The whole range, and a list that somebody emptied.
	reserve("1-65535", portrange.Range{First: 1, Last: 65535})
	must(t, s.write(reservedPorts, ""))
	reserve("")
	if _, ours := reservation("", nil, []portrange.Range{portrange.Port("TCP", 65535), portrange.Port("TCP", 1)}); !slices.Equal(ours, []string{"1", "65535"}) {
		t.Errorf("ours are %q", ours)
	}
}
