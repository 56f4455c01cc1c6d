package kernel

import (
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// Fake is a kernel in memory, for tests: Servers, and with its methods Device and Filter the rest. It obeys and refuses as
// the kernel does; the same tests run on both.
type Fake struct {
	Table     map[plan.Frontend]*FakeServer
	Bound     map[Bound]bool
	Sets      map[Element]bool
	Lacks     []string // schedulers
	Calls     []string // the changes that were made, in order
	HasTable  bool
	HasDevice bool
}

// FakeServer is a virtual server of a Fake.
type FakeServer struct {
	plan.Settings
	Reals       map[netip.AddrPort]uint32 // weights
	Connections map[netip.AddrPort]uint32
}

// NewFake returns an empty kernel.
func NewFake() *Fake {
	return &Fake{Table: map[plan.Frontend]*FakeServer{}, Bound: map[Bound]bool{}, Sets: map[Element]bool{}}
}

// Dump renders what is in the kernel, as goldens have it.
func (f *Fake) Dump() string {
	var b strings.Builder
	for _, a := range slices.SortedFunc(maps.Keys(f.Bound), Bound.compare) {
		fmt.Fprintf(&b, "address %s\n", a)
	}
	for _, at := range slices.SortedFunc(maps.Keys(f.Table), plan.Frontend.Compare) {
		s := f.Table[at]
		fmt.Fprintf(&b, "%s %s %d\n", at, s.Scheduler, s.Affinity)
		for _, r := range slices.SortedFunc(maps.Keys(s.Reals), netip.AddrPort.Compare) {
			fmt.Fprintf(&b, "  -> %s %d\n", r, s.Reals[r])
		}
	}
	return b.String()
}

// Count returns how many virtual servers for IPv4 there are.
func (f *Fake) Count() (n int, err error) {
	for at := range f.Table {
		if !at.Is6() {
			n++
		}
	}
	return n, nil
}

// List returns all virtual servers.
func (f *Fake) List() (out []plan.Server, err error) {
	for _, at := range slices.SortedFunc(maps.Keys(f.Table), plan.Frontend.Compare) {
		out = append(out, plan.Server{Frontend: at, Settings: f.Table[at].Settings})
	}
	return out, nil
}

// Reals returns the real servers of a virtual server.
func (f *Fake) Reals(at plan.Frontend) (out []Real, err error) {
	s, ok := f.Table[at]
	if !ok {
		return nil, fs.ErrNotExist
	}
	for _, r := range slices.SortedFunc(maps.Keys(s.Reals), netip.AddrPort.Compare) {
		out = append(out, Real{plan.Real{Address: r, Weight: s.Reals[r]}, s.Connections[r]})
	}
	return out, nil
}

// Do makes one change.
func (f *Fake) Do(c Change) error {
	s, exists := f.Table[c.Frontend]
	f.Calls = append(f.Calls, fmt.Sprintf("%d %s %s", c.Verb, c.Frontend, c.Real.Address))
	switch {
	case c.Verb == AddServer && exists:
		return fs.ErrExist
	case c.Verb != AddServer && !exists:
		return fs.ErrNotExist
	case c.Verb <= SetServer && slices.Contains(f.Lacks, c.Name):
		return fmt.Errorf("%w %s", ErrScheduler, c.Name)
	}
	switch c.Verb {
	case AddServer:
		f.Table[c.Frontend] = &FakeServer{c.Settings, map[netip.AddrPort]uint32{}, map[netip.AddrPort]uint32{}}
		return nil
	case SetServer:
		s.Settings = c.Settings
		return nil
	case RemoveServer:
		delete(f.Table, c.Frontend)
		return nil
	}
	_, has := s.Reals[c.Real.Address]
	switch {
	case c.Verb == AddReal && has:
		return fs.ErrExist
	case c.Verb != AddReal && !has:
		return fs.ErrNotExist
	case c.Verb == RemoveReal:
		delete(s.Reals, c.Real.Address)
		delete(s.Connections, c.Real.Address)
	default:
		s.Reals[c.Real.Address] = c.Real.Weight
	}
	return nil
}

// FakeDevice is a Fake's Device.
type FakeDevice struct{ *Fake }

// Addresses returns what is bound.
func (d FakeDevice) Addresses() ([]Bound, error) { return slices.Collect(maps.Keys(d.Bound)), nil }

// Add binds an address.
func (d FakeDevice) Add(a Bound) error {
	d.HasDevice, d.Bound[a] = d.HasDevice || !a.Routed, true
	return nil
}

// Remove releases an address.
func (d FakeDevice) Remove(a Bound) error {
	delete(d.Bound, a)
	return nil
}

// Delete removes the device.
func (d FakeDevice) Delete() error {
	d.HasDevice = false
	clear(d.Bound)
	return nil
}

// FakeFilter is a Fake's Filter.
type FakeFilter struct{ *Fake }

// Read returns all elements.
func (x FakeFilter) Read() ([]Element, bool, error) {
	return slices.Collect(maps.Keys(x.Sets)), x.HasTable, nil
}

// State returns a generation that nothing was read at, so that elements are compared.
func (x FakeFilter) State() (uint32, bool, error) {
	return 1 + uint32(len(x.Sets)), x.HasTable, nil
}

// Commit makes one transaction: all of it, or nothing.
func (x FakeFilter) Commit(rebuild bool, add, remove []Element) error {
	after := maps.Clone(x.Sets)
	if rebuild {
		clear(after)
	} else if !x.HasTable {
		return fs.ErrNotExist
	}
	for _, e := range remove {
		if !after[e] {
			return fmt.Errorf("element %v: %w", e, fs.ErrNotExist)
		}
		delete(after, e)
	}
	for _, e := range add {
		after[e] = true
	}
	x.Sets, x.HasTable = after, true
	return nil
}

// Delete removes the table.
func (x FakeFilter) Delete() error {
	x.HasTable = false
	clear(x.Sets)
	return nil
}
