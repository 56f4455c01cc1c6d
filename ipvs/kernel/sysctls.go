package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// Sysctls holds settings of the kernel to what virtual servers need. What it changed, and has to give back, stands in a
// record that outlives the process.
type Sysctls struct {
	Proc   string // /proc/sys
	Record string // the file of the record
	// Log shows what is set and given back; nil: nothing does.
	Log *slog.Logger
}

const (
	ipForward       = "net/ipv4/ip_forward"
	forwarding6     = "net/ipv6/conf/all/forwarding"
	conntrack       = "net/ipv4/vs/conntrack"
	expireNoDest    = "net/ipv4/vs/expire_nodest_conn"
	expireTemplates = "net/ipv4/vs/expire_quiescent_template"
	reservedPorts   = "net/ipv4/ip_local_reserved_ports"
)

// announce is the setting by which an interface sends ARP requests only with an address of its own: else the answers of
// virtual servers would make it tell the neighbors that a load balancer's address is here.
func announce(link string) string { return "net/ipv4/conf/" + link + "/arp_announce" }

// kept says whether others may have come to rely on a setting: it is never put back.
func kept(name string) bool { return name == ipForward || name == conntrack }

// record is what the file holds.
type sysctlRecord struct {
	Before   map[string]string `json:"before,omitempty"`   // by name: what it was
	Reserved []string          `json:"reserved,omitempty"` // the ports that were added to the kernel's list
}

// Setting is a sysctl that virtual servers need.
type Setting struct{ Name, Value string }

// settings are those needed on a node with these interfaces.
func settings(links []string) []Setting {
	out := []Setting{{ipForward, "1"}, {conntrack, "1"}, {expireNoDest, "1"}, {expireTemplates, "1"}}
	for _, l := range links {
		out = append(out, Setting{announce(l), "2"})
	}
	return out
}

// Apply makes the settings so, and reserves the ports, whose protocols do not count: the kernel takes none of them for
// connections of the node's own. The error of a setting says what to set.
func (s *Sysctls) Apply(links []string, reserve []portrange.Range) error {
	var errs []error
	var wrong []Setting
	for _, want := range settings(links) {
		switch have, err := s.read(want.Name); {
		case errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(want.Name, "/arp_announce"):
			// the interface is gone
		case err != nil:
			errs = append(errs, err)
		case have != want.Value:
			wrong = append(wrong, want)
		}
	}
	reserved, err := s.read(reservedPorts)
	if err != nil && len(reserve) > 0 {
		errs = append(errs, err)
	}
	r, err := s.load()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	next, ours := reservation(reserved, r.Reserved, reserve)
	if len(wrong) == 0 && next == reserved && slices.Equal(ours, r.Reserved) {
		return errors.Join(errs...)
	}
	for _, x := range wrong {
		if _, known := r.Before[x.Name]; !known && !kept(x.Name) {
			if have, err := s.read(x.Name); err == nil {
				r.Before[x.Name] = have
			}
		}
	}
	r.Reserved = ours
	if err := s.save(r); err != nil { // before what it records
		return errors.Join(append(errs, err)...)
	}
	for _, x := range wrong {
		errs = append(errs, s.write(x.Name, x.Value))
	}
	if next != reserved {
		errs = append(errs, s.write(reservedPorts, next))
	}
	return errors.Join(errs...)
}

// Restore gives back what was changed and nobody changed since, and drops the record.
func (s *Sysctls) Restore() error {
	r, err := s.load()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r.Before)) {
		want := "1"
		if strings.HasSuffix(name, "/arp_announce") {
			want = "2"
		}
		if have, err := s.read(name); err == nil && have == want {
			errs = append(errs, s.write(name, r.Before[name]))
		}
	}
	if reserved, err := s.read(reservedPorts); err == nil {
		if next, _ := reservation(reserved, r.Reserved, nil); next != reserved {
			errs = append(errs, s.write(reservedPorts, next))
		}
	}
	if err := os.Remove(s.Record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("removing the record of settings: %w", err))
	}
	return errors.Join(errs...)
}

// reservation returns the kernel's list of reserved ports, which is have, without those that are ours and with those
// wanted, and which of these are ours then: those that nobody else reserved.
func reservation(have string, ours []string, want []portrange.Range) (next string, added []string) {
	if len(ours) == 0 && len(want) == 0 {
		return have, nil
	}
	var ports [1 << 16]bool
	mark := func(list []string, value bool) {
		for _, part := range list {
			first, last, _ := strings.Cut(strings.TrimSpace(part), "-")
			a, err := strconv.ParseUint(first, 10, 16)
			b, errLast := strconv.ParseUint(last, 10, 16)
			if last == "" {
				b, errLast = a, err
			}
			for p := a; err == nil && errLast == nil && p <= b; p++ {
				ports[p] = value
			}
		}
	}
	mark(strings.Split(have, ","), true)
	mark(ours, false)
	foreign := ports
	for _, r := range want {
		for p := int(r.First); p <= int(r.Last); p++ {
			ports[p] = true
		}
	}
	var all []string
	spans(func(p int) bool { return ports[p] }, func(text string) { all = append(all, text) })
	spans(func(p int) bool { return ports[p] && !foreign[p] }, func(text string) { added = append(added, text) })
	return strings.Join(all, ","), added
}

// spans calls f with each longest run of ports that are in, as the kernel writes it.
func spans(in func(int) bool, f func(string)) {
	for p := 0; p < 1<<16; p++ {
		if !in(p) {
			continue
		}
		first := p
		for p+1 < 1<<16 && in(p+1) {
			p++
		}
		if text := strconv.Itoa(first); first == p {
			f(text)
		} else {
			f(text + "-" + strconv.Itoa(p))
		}
	}
}

func (s *Sysctls) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.Proc, name))
	if err != nil {
		return "", fmt.Errorf("reading the setting %s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (s *Sysctls) write(name, value string) error {
	before, _ := s.read(name)
	// An empty list takes a line of its own.
	if err := os.WriteFile(filepath.Join(s.Proc, name), []byte(value+"\n"), 0o644); err != nil {
		return fmt.Errorf("setting %s to %q: %w", name, value, err)
	}
	if s.Log != nil {
		s.Log.Info("a setting of the kernel is changed", "sysctl", strings.NewReplacer("/", ".", ".", "/").Replace(name), "from", before, "to", value)
	}
	return nil
}

func (s *Sysctls) load() (*sysctlRecord, error) {
	r := &sysctlRecord{}
	b, err := os.ReadFile(s.Record)
	if err == nil {
		err = json.Unmarshal(b, r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the record of settings %s: %w", s.Record, err)
	}
	if r.Before == nil {
		r.Before = map[string]string{}
	}
	return r, nil
}

func (s *Sysctls) save(r *sysctlRecord) error {
	b, err := json.Marshal(r)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.Record), 0o755)
	}
	if err == nil {
		err = os.WriteFile(s.Record+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(s.Record+".new", s.Record)
	}
	if err != nil {
		return fmt.Errorf("writing the record of settings: %w", err)
	}
	return nil
}
