// Package kernel holds a node's kernel to a plan: virtual servers of IPVS, addresses on a device of its own, and an nftables
// table of its own. What it did not make it never touches: a record of its virtual servers stands in its table.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-lb/fairlead/internal/diff"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// Servers are the virtual servers of a network namespace, whoever made them.
type Servers interface {
	// Count returns how many virtual servers for IPv4 there are, at next to no cost.
	Count() (int, error)
	// List returns all of them, without their real servers.
	List() ([]plan.Server, error)
	// Reals returns the real servers of one of them.
	Reals(plan.Frontend) ([]Real, error)
	// Do makes one change. Its errors wrap fs.ErrExist and fs.ErrNotExist.
	Do(Change) error
}

// Real is a real server as the kernel shows it.
type Real struct {
	plan.Real
	Connections uint32 // active and inactive ones
}

// Verb is what a Change does.
type Verb uint8

// The changes. Those of real servers name the virtual server by its frontend.
const (
	AddServer Verb = iota
	SetServer
	RemoveServer
	AddReal
	SetReal
	RemoveReal
)

// Change is one change of a virtual server, or of one of its real servers.
type Change struct {
	Verb
	plan.Frontend
	plan.Settings
	Real plan.Real
}

// ErrScheduler is wrapped by the errors of Do where the kernel has no such scheduler.
var ErrScheduler = errors.New("the kernel lacks the scheduler")

// Device is what makes the kernel take packets for addresses: a network interface that has them, or routes. A change of
// the way is an addition and a removal.
type Device interface {
	// Addresses returns those that there are.
	Addresses() ([]Bound, error)
	Add(Bound) error // makes the interface where it does not exist
	Remove(Bound) error
	Delete() error // the interface and the routes
}

// Bound is an address that the kernel takes packets for. It is comparable.
type Bound struct {
	netip.Addr
	Routed bool // see plan.Plan
}

func (b Bound) compare(other Bound) int { return b.Addr.Compare(other.Addr) }

// bound returns the addresses of a plan.
func bound(p *plan.Plan) []Bound {
	out := make([]Bound, len(p.Addresses))
	for i, a := range p.Addresses {
		out[i] = Bound{a, p.Routed}
	}
	return out
}

// Filter is the nftables table.
type Filter interface {
	// Read returns the elements of all its sets. intact is false where the table, a chain, a set or a rule is missing or is
	// not as Commit makes it.
	Read() (elements []Element, intact bool, err error)
	// State returns a number that changes with every change of any table, and whether ours are intact but for elements. It
	// costs next to nothing where the number is the one that it returned before.
	State() (generation uint32, intact bool, err error)
	// Commit makes one transaction. rebuild replaces the whole table, which then has the elements of add.
	Commit(rebuild bool, add, remove []Element) error
	Delete() error
}

// Programmer holds the kernel to plans. It is not for concurrent use.
type Programmer struct {
	Log     *slog.Logger
	Servers Servers
	Device  Device
	Filter  Filter
	Now     func() time.Time // time.Now where nil
	// Repaired is called when something that others changed is about to be put right; nil: nobody wants to know.
	Repaired func()

	known     bool // what follows is what the kernel holds, as far as we know; Apply looks first where it is not so
	failed    plan.Failed
	lacking   []string // schedulers
	servers   map[plan.Frontend]plan.Server
	foreign   map[plan.Frontend]bool
	elements  []Element
	spare     []Element // room for the next ones
	addresses []Bound
	draining  map[leaving]drain
	want      plan.Plan
	next      int // the virtual server whose real servers are checked next
	checks    int
	elsewhere int    // how many virtual servers for IPv4 are others'
	read      uint32 // the generation at which the elements were seen to be as they should be; 0: none
}

// leaving is a real server that gets no new connections and goes when those that it has are gone.
type leaving struct {
	plan.Frontend
	server netip.AddrPort
}

// drain is what is known of one.
type drain struct {
	until       time.Time // when it goes at the latest; zero: not while its endpoint is there
	terminating bool      // its pod was being deleted
}

func (p *Programmer) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

// Apply makes the kernel hold the plan: new servers, then the filter and the addresses that bring packets to them; what is
// no longer wanted goes in the reverse order. It goes on past what fails, and may be called again with the same plan.
func (p *Programmer) Apply(ctx context.Context, want plan.Plan) error {
	last, first := p.want, !p.known
	p.want, p.failed = want, plan.Failed{}
	if first {
		if err := p.observe(); err != nil {
			p.failed.Filter = true // for all we know
			return err
		}
	}
	var errs []error
	try := func(what string, err error) bool {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
		return err == nil
	}
	// Where nothing but real servers and settings changes, the record stays, and mostly packets meet the same elements.
	recorded := !first && p.elements != nil && slices.EqualFunc(want.Servers, last.Servers, func(a, b plan.Server) bool { return a.Frontend == b.Frontend })
	stays := func(i int) bool { return recorded && sameServer(&want.Servers[i], &last.Servers[i]) }
	same := recorded && last.Filter.Equal(&want.Filter) && slices.Equal(last.Addresses, want.Addresses)
	both := func(list []Element) []Element {
		list = record(list, frontends(want.Servers))
		if !recorded {
			list = record(list, maps.Keys(p.servers))
		}
		return list
	}
	if !recorded {
		// The record, of both plans, comes before what it records.
		try("recording virtual servers", p.commit(both(p.withoutRecord())))
	}
	for i := range want.Servers {
		if ctx.Err() != nil {
			p.known = false
			return ctx.Err()
		}
		if stays(i) {
			continue
		}
		if failures := p.addServer(&want.Servers[i]); len(failures) > 0 {
			errs = append(errs, failures...)
			p.failed.Servers = append(p.failed.Servers, want.Servers[i].Frontend)
		}
	}
	if !same {
		p.failed.Filter = !try("programming the packet filter", p.commit(both(elements(p.spare, &want))))
	}
	add, remove := diff.Sets(bound(&want), p.addresses)
	for _, a := range add {
		if try("binding "+a.String(), p.Device.Add(a)) {
			p.addresses = append(p.addresses, a)
		} else {
			p.failed.Addresses = append(p.failed.Addresses, a.Addr)
		}
	}
	for _, a := range remove {
		if try("releasing "+a.String(), p.Device.Remove(a)) {
			p.addresses = slices.DeleteFunc(p.addresses, func(x Bound) bool { return x == a })
		}
	}
	if !recorded {
		errs = append(errs, p.prune(want.Servers)...)
	}
	errs = append(errs, p.retireWhere(func(i int) bool { return !stays(i) })...)
	if !recorded {
		try("recording virtual servers", p.commit(record(elements(p.spare, &want), maps.Keys(p.servers))))
	}
	if len(errs) > 0 {
		p.known = false
	}
	return errors.Join(errs...)
}

// frontends are those of virtual servers.
func frontends(list []plan.Server) iter.Seq[plan.Frontend] {
	return func(yield func(plan.Frontend) bool) {
		for i := range list {
			if !yield(list[i].Frontend) {
				return
			}
		}
	}
}

// sameServer says whether two plans want the same of a virtual server.
func sameServer(a, b *plan.Server) bool {
	return a.Frontend == b.Frontend && a.Settings == b.Settings && a.Drain == b.Drain && sameList(a.Reals, b.Reals) && sameList(a.Leaving, b.Leaving)
}

// sameList is a slices.Equal that is quick where the next plan has the very list of the last one.
func sameList[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// Failed returns what of the last plan the kernel does not hold, as far as the last Apply or Check knows.
func (p *Programmer) Failed() plan.Failed { return p.failed }

// Lacking returns the schedulers that were asked for and that the kernel has not; sorted.
func (p *Programmer) Lacking() []string { return slices.Clone(p.lacking) }

// observe reads what the kernel holds.
func (p *Programmer) observe() error {
	had := p.elements
	found, intact, err := p.Filter.Read()
	if err != nil {
		return fmt.Errorf("reading the packet filter: %w", err)
	}
	ours := owners(found, had)
	for f := range p.servers {
		ours[f] = true
	}
	if p.elements = sorted(found); !intact {
		p.elements = nil
	}
	if p.addresses, err = p.Device.Addresses(); err != nil {
		return fmt.Errorf("reading the addresses of the device: %w", err)
	}
	list, err := p.Servers.List()
	if err != nil {
		return fmt.Errorf("listing virtual servers: %w", err)
	}
	p.servers, p.foreign = make(map[plan.Frontend]plan.Server, len(list)), map[plan.Frontend]bool{}
	p.elsewhere = 0
	for _, s := range list {
		if !ours[s.Frontend] {
			p.foreign[s.Frontend] = true
			if !s.Is6() {
				p.elsewhere++
			}
			continue
		}
		reals, err := p.Servers.Reals(s.Frontend)
		if err != nil {
			return fmt.Errorf("listing the real servers of %s: %w", s.Frontend, err)
		}
		for _, r := range reals {
			s.Reals = append(s.Reals, r.Real)
		}
		sortReals(s.Reals)
		p.servers[s.Frontend] = s
	}
	if p.draining == nil {
		p.draining = map[leaving]drain{}
	}
	maps.DeleteFunc(p.draining, func(d leaving, _ drain) bool { return !hasReal(p.servers[d.Frontend].Reals, d.server) })
	p.known = true
	return nil
}

func sortReals(list []plan.Real) {
	slices.SortFunc(list, func(a, b plan.Real) int { return a.Address.Compare(b.Address) })
}

func hasReal(list []plan.Real, at netip.AddrPort) bool {
	return slices.ContainsFunc(list, func(r plan.Real) bool { return r.Address == at })
}

// commit makes the packet filter have these elements; the list is its own from then on. Where the table was not as it should
// be, it is made anew.
func (p *Programmer) commit(want []Element) error {
	want = sorted(want)
	rebuild := p.elements == nil
	if !rebuild && slices.Equal(want, p.elements) {
		return nil
	}
	add, remove := want, []Element(nil)
	if !rebuild {
		add, remove = diff.Sorted(want, p.elements, Element.compare)
	}
	if err := p.Filter.Commit(rebuild, add, remove); err != nil {
		return err
	}
	p.elements, p.spare = want, p.elements
	return nil
}

// withoutRecord returns the elements that packets meet, as they are.
func (p *Programmer) withoutRecord() []Element {
	return slices.DeleteFunc(slices.Clone(p.elements), func(e Element) bool { return e.Set == owned })
}

// addServer makes a virtual server and the real servers that are missing, and gives them their weights.
func (p *Programmer) addServer(want *plan.Server) (errs []error) {
	have, exists := p.servers[want.Frontend]
	if exists && have.Settings == want.Settings && slices.Equal(have.Reals, want.Reals) {
		return nil
	}
	do := func(c Change, what any) bool {
		c.Frontend = want.Frontend
		err := p.Servers.Do(c)
		if errors.Is(err, ErrScheduler) && !slices.Contains(p.lacking, c.Scheduler.Name) {
			p.lacking = append(p.lacking, c.Scheduler.Name)
			slices.Sort(p.lacking)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %v of %s: %w", c.Verb, what, want.Frontend, err))
		}
		return err == nil
	}
	switch {
	case p.foreign[want.Frontend]:
		return []error{fmt.Errorf("virtual server %s belongs to somebody else: %w", want.Frontend, fs.ErrExist)}
	case !exists:
		if !do(Change{Verb: AddServer, Settings: want.Settings}, "server") {
			return errs
		}
		have = plan.Server{Frontend: want.Frontend, Settings: want.Settings}
	case have.Settings != want.Settings:
		if do(Change{Verb: SetServer, Settings: want.Settings}, "server") {
			have.Settings = want.Settings
		}
	}
	reals := slices.Clone(have.Reals)
	for _, r := range want.Reals {
		i, found := slices.BinarySearchFunc(reals, r, func(a, b plan.Real) int { return a.Address.Compare(b.Address) })
		switch {
		case !found:
			if do(Change{Verb: AddReal, Real: r}, r.Address) {
				reals = slices.Insert(reals, i, r)
			}
		case reals[i] != r:
			if do(Change{Verb: SetReal, Real: r}, r.Address) {
				reals[i] = r
			}
		}
		if found && len(p.draining) > 0 {
			delete(p.draining, leaving{want.Frontend, r.Address})
		}
	}
	have.Reals, have.Drain = reals, want.Drain
	p.servers[want.Frontend] = have
	return errs
}

// prune takes virtual servers away that are not wanted.
func (p *Programmer) prune(want []plan.Server) (errs []error) {
	gone := map[plan.Frontend]bool{}
	for f := range p.servers {
		gone[f] = true
	}
	for i := range want {
		delete(gone, want[i].Frontend)
	}
	for _, f := range slices.SortedFunc(maps.Keys(gone), plan.Frontend.Compare) {
		if err := p.Servers.Do(Change{Verb: RemoveServer, Frontend: f}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing %s: %w", f, err))
			continue
		}
		for _, r := range p.servers[f].Reals {
			delete(p.draining, leaving{f, r.Address})
		}
		delete(p.servers, f)
	}
	return errs
}

// retireAll takes the real servers of a virtual server away that are not wanted.
func (p *Programmer) retireAll(w *plan.Server) (errs []error) {
	have := p.servers[w.Frontend].Reals
	if slices.EqualFunc(have, w.Reals, func(a, b plan.Real) bool { return a.Address == b.Address }) {
		return nil
	}
	for _, r := range slices.Clone(have) {
		if !hasReal(w.Reals, r.Address) {
			if err := p.retire(w, r); err != nil {
				errs = append(errs, fmt.Errorf("removing %s from %s: %w", r.Address, w.Frontend, err))
			}
		}
	}
	return errs
}

// retireWhere takes the real servers away that are not wanted, where that changed; and elsewhere those whose connections have
// ended, or whose time is over.
func (p *Programmer) retireWhere(changed func(i int) bool) (errs []error) {
	draining := map[plan.Frontend]bool{}
	for d := range p.draining {
		draining[d.Frontend] = true
	}
	for i := range p.want.Servers {
		if w := &p.want.Servers[i]; changed(i) || len(draining) > 0 && draining[w.Frontend] {
			errs = append(errs, p.retireAll(w)...)
		}
	}
	return errs
}

// retire takes a real server away: at once where the virtual server does not drain, or where the pod was being deleted and
// is gone; else when it has no connections left; and, when its endpoint has been gone for the time to drain, whatever it has.
func (p *Programmer) retire(w *plan.Server, r plan.Real) error {
	f, d := w.Frontend, leaving{w.Frontend, r.Address}
	state := p.draining[d]
	i, there := slices.BinarySearchFunc(w.Leaving, r.Address, func(l plan.Leaving, a netip.AddrPort) int { return l.Address.Compare(a) })
	switch {
	case there:
		state = drain{terminating: w.Leaving[i].Terminating}
	case state.until.IsZero():
		state.until = p.now().Add(w.Drain)
	}
	if w.Drain > 0 && (there || !state.terminating && p.now().Before(state.until)) {
		p.draining[d] = state
		if r.Weight != 0 {
			r.Weight = 0
			if err := p.Servers.Do(Change{Verb: SetReal, Frontend: f, Real: r}); err != nil {
				return err
			}
			p.setReal(f, r)
		}
		reals, err := p.Servers.Reals(f)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(reals, func(x Real) bool { return x.Address == r.Address && x.Connections > 0 }) {
			return nil
		}
	}
	if err := p.Servers.Do(Change{Verb: RemoveReal, Frontend: f, Real: r}); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(p.draining, d)
	s := p.servers[f]
	s.Reals = slices.DeleteFunc(slices.Clone(s.Reals), func(x plan.Real) bool { return x.Address == r.Address })
	p.servers[f] = s
	return nil
}

func (p *Programmer) setReal(f plan.Frontend, r plan.Real) {
	s := p.servers[f]
	s.Reals = slices.Clone(s.Reals)
	for i := range s.Reals {
		if s.Reals[i].Address == r.Address {
			s.Reals[i] = r
		}
	}
	p.servers[f] = s
}

const (
	// checkRounds is in how many calls of Check the real servers of all virtual servers are looked at; where these are more
	// than that many times atOnce, in more calls: a call does not take longer for it.
	checkRounds, atOnce = 60, 20
	// fullRounds is in how many calls all virtual servers are listed, and all elements read where any table changed. In
	// between, their number, one of IPv6, and the rules are looked at: enough to notice that somebody emptied a table.
	fullRounds = 30
	// few is how many addresses are looked at every time; more are, in one of addressRounds calls.
	few, addressRounds = 500, 10
)

// Check compares the kernel with what it was made to hold, and repairs what somebody else changed. It looks at addresses,
// rules and the number of virtual servers, and now and then at each of these; at the real servers of a part of them, another
// one every time; and it takes away the real servers whose connections have ended. It is for a timer of about a second.
func (p *Programmer) Check(ctx context.Context) error {
	if !p.known && p.servers == nil {
		return p.Apply(ctx, p.want)
	}
	p.checks++
	for _, unchanged := range []func() (bool, error){p.sameServers, p.sameAddresses, p.sameFilter, p.sameReals} {
		same, err := unchanged()
		if err != nil {
			return err
		}
		if !same {
			p.Log.Warn("somebody changed virtual servers, addresses or rules of ours; they are put right")
			if p.Repaired != nil {
				p.Repaired()
			}
			p.known = false
			return p.Apply(ctx, p.want)
		}
	}
	return errors.Join(p.retireWhere(func(int) bool { return false })...)
}

// sameServers looks at the virtual servers: at all of them now and then, and when their number is another one.
func (p *Programmer) sameServers() (bool, error) {
	count, err := p.Servers.Count()
	if err != nil {
		return false, fmt.Errorf("counting virtual servers: %w", err)
	}
	expected := p.elsewhere
	for f := range p.servers {
		if !f.Is6() {
			expected++
		}
	}
	if count == expected && p.checks%fullRounds != 0 {
		return true, nil
	}
	list, err := p.Servers.List()
	if err != nil {
		return false, fmt.Errorf("listing virtual servers: %w", err)
	}
	seen, elsewhere := 0, 0
	for _, s := range list {
		have, ours := p.servers[s.Frontend]
		switch {
		case ours && have.Settings != s.Settings:
			return false, nil
		case ours:
			seen++
		case !s.Is6():
			elsewhere++
		}
	}
	p.elsewhere = elsewhere
	return seen == len(p.servers), nil
}

func (p *Programmer) sameAddresses() (bool, error) {
	if len(p.addresses) > few && p.checks%addressRounds != 3 {
		return true, nil
	}
	addresses, err := p.Device.Addresses()
	if err != nil {
		return false, fmt.Errorf("reading the addresses of the device: %w", err)
	}
	add, remove := diff.Sets(p.addresses, addresses)
	return len(add)+len(remove) == 0, nil
}

// sameFilter looks at the rules, and at the elements now and then where any table changed since.
func (p *Programmer) sameFilter() (bool, error) {
	generation, intact, err := p.Filter.State()
	if err != nil || !intact {
		return false, wrap("reading the packet filter", err)
	}
	if generation == p.read || p.checks%fullRounds != 6 {
		return true, nil
	}
	found, intact, err := p.Filter.Read()
	if err != nil {
		return false, wrap("reading the packet filter", err)
	}
	p.read = generation // what changed after that is another one
	return intact && slices.Equal(sorted(found), p.elements), nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// sameReals looks at the real servers of the next part of the virtual servers, and of one for IPv6: others may have taken
// away all of these, which are not counted.
func (p *Programmer) sameReals() (bool, error) {
	var look []plan.Frontend
	for range min((len(p.want.Servers)+checkRounds-1)/checkRounds, atOnce) {
		look = append(look, p.want.Servers[p.next%len(p.want.Servers)].Frontend)
		p.next++
	}
	if i := slices.IndexFunc(p.want.Servers, func(s plan.Server) bool { return s.Is6() }); i >= 0 {
		look = append(look, p.want.Servers[i].Frontend)
	}
	for _, f := range look {
		have, ours := p.servers[f]
		if !ours {
			continue // it failed
		}
		reals, err := p.Servers.Reals(f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("listing the real servers of %s: %w", f, err)
		}
		if !sameReals(reals, have.Reals) {
			return false, nil
		}
	}
	return true, nil
}

func sameReals(found []Real, want []plan.Real) bool {
	have := make([]plan.Real, 0, len(found))
	for _, r := range found {
		have = append(have, r.Real)
	}
	sortReals(have)
	return slices.Equal(have, want)
}

// Cleanup takes everything of ours out of the kernel.
func (p *Programmer) Cleanup() error {
	if err := p.observe(); err != nil {
		return err
	}
	errs := p.prune(nil)
	p.known, p.want = false, plan.Plan{}
	return errors.Join(append(errs, p.Device.Delete(), p.Filter.Delete())...)
}

// String names the change for errors.
func (v Verb) String() string {
	return [...]string{"adding", "changing", "removing", "adding", "changing", "removing"}[v]
}
