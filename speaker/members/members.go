// Package members knows which nodes run a live speaker. The speakers watch each other by the SWIM protocol, without
// the API server, so that a dead node is noticed in about a second while the API server is down too.
package members

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// KeySize is the size of the key that all members share, in bytes: AES-256.
const KeySize = 32

// The timing. With it a speaker of three that is gone is noticed in 1.5 to 2.7 s, and neither 5 % packet loss nor a pause of
// 800 ms makes a false alarm: one that wakes is asked within a probe's time, and what it answers clears it. With 20 % lost one
// that lives is taken for dead now and then, for a moment; the heartbeats say that it is there. A node that dies is noticed
// by them long before. Probes wake each other's processes, which is most of what a membership costs, so there are not more;
// a suspicion of two of their intervals waits for nobody to confirm it. Small clusters spread news by probes and their
// answers; gossip is for large ones.
const (
	probeInterval  = 500 * time.Millisecond
	probeTimeout   = 200 * time.Millisecond
	gossipInterval = 200 * time.Millisecond
	suspicionMult  = 2
	tcpTimeout     = time.Second
	// rejoinInterval is how often members that are not seen alive are asked to join again.
	rejoinInterval = 2 * time.Second
	// publishTimeout bounds how long the telling of new facts is waited for; it goes on by itself.
	publishTimeout = 200 * time.Millisecond
	// askedFirst is how many peers are asked to join before all others are.
	askedFirst = 3
	// joinsAtOnce bounds how many peers are asked to join at the same time.
	joinsAtOnce = 64
	// confirmAtOnce is how many members are asked at the same time whether they hear this one.
	confirmAtOnce = 3
)

// Config says who this member is and how it reaches the others.
type Config struct {
	Log     *slog.Logger
	Node    string                       // this node's name, the member's name
	Address netip.Addr                   // of this node; bound to and told to the others
	Port    uint16                       // UDP and TCP, the same on all nodes
	Key     []byte                       // KeySize bytes; messages are encrypted with it
	Peers   func() map[string]netip.Addr // the nodes that may be members by name, this one included or not, and their addresses
	Heard   func(message []byte)         // called with what another member Told; must not block, nor keep it; nil: it is dropped
	Changed func()                       // called when a member came, went or said something else of itself; must not block
}

// Members is this node's membership.
type Members struct {
	config Config
	alive  atomic.Pointer[[]plan.Member]
	facts  atomic.Pointer[plan.Facts] // this member's
	ready  chan struct{}              // closed when the first round of joining was observed
	dirty  chan struct{}              // holds one value when the list changed and was not observed yet
	news   chan struct{}              // holds one value when the facts changed and were not told yet
	left   chan struct{}              // closed when this member goes, so that it asks nobody to join any more

	heardMu sync.Mutex
	heard   map[string]plan.Member // each member, alive or not, as it said of itself last

	mu   sync.Mutex
	list *memberlist.Memberlist // nil unless Run runs; it panics when asked to leave after its end

	open func(netip.AddrPort, *slog.Logger) (memberlist.NodeAwareTransport, error) // newTransport but in tests
}

// New returns a membership; Run starts it.
func New(c Config) *Members {
	m := &Members{config: c, open: newTransport, heard: map[string]plan.Member{}, ready: make(chan struct{}), dirty: make(chan struct{}, 1), news: make(chan struct{}, 1), left: make(chan struct{})}
	m.alive.Store(&[]plan.Member{})
	m.facts.Store(&plan.Facts{})
	return m
}

// Run joins the other members and follows who is alive, until the context ends. It then closes without a word to the
// others, as a crash would: see Leave. It is called once.
func (m *Members) Run(ctx context.Context) error {
	list, err := m.create()
	if err != nil {
		return fmt.Errorf("joining the speakers as %q on %s port %d: %w", m.config.Node, m.config.Address, m.config.Port, err)
	}
	m.setList(list)
	defer func() {
		m.setList(nil)
		_ = list.Shutdown()
	}()
	m.observe(list)
	joined := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.keepJoining(ctx, list, joined) })
	for {
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-joined:
			joined = nil
			m.observe(list)
			close(m.ready)
		case <-m.dirty:
			m.observe(list)
		case <-m.news:
			if err := list.UpdateNode(publishTimeout); err != nil {
				m.config.Log.Debug("telling the other speakers takes longer", "error", err)
			}
			m.observe(list)
		}
	}
}

func (m *Members) setList(list *memberlist.Memberlist) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = list
}

// keepJoining asks the peers that are not seen alive to join, at once and then at every interval, until this member
// goes. Without it two halves that lost each other would stay apart. It closes joined after the first round.
func (m *Members) keepJoining(ctx context.Context, list *memberlist.Memberlist, joined chan<- struct{}) error {
	m.join(list)
	close(joined)
	tick := time.NewTicker(rejoinInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.left:
			return nil
		case <-tick.C:
			m.join(list)
		}
	}
}

// Ready is closed when the first round of joining is over, so that Alive means something.
func (m *Members) Ready() <-chan struct{} { return m.ready }

// Alive returns the live members, this one included with what was Published last, by name.
func (m *Members) Alive() []plan.Member {
	alive := slices.Clone(*m.alive.Load())
	for i := range alive {
		if alive[i].Node == m.config.Node {
			alive[i].Facts = *m.facts.Load()
		}
	}
	return alive
}

// Publish replaces what this member says of itself. It may be called before Run.
func (m *Members) Publish(f plan.Facts) {
	if old := m.facts.Swap(&f); *old == f {
		return
	}
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// Confirm returns nil when another live member has answered, so that what it knows is known here, and what it was told
// of this member in the meantime, for example that it is dead, was answered; or when there is no other. It is for after a
// time in which this process did not run.
func (m *Members) Confirm(ctx context.Context) error {
	m.mu.Lock()
	list := m.list
	m.mu.Unlock()
	if list == nil {
		return errors.New("the membership does not run")
	}
	var others []string
	for _, x := range m.living(list) {
		if x.Node != m.config.Node && len(others) < confirmAtOnce {
			others = append(others, m.endpoint(x.Address))
		}
	}
	if len(others) == 0 {
		return nil
	}
	answers := make(chan error, len(others))
	for _, address := range others {
		go func() { // it ends after tcpTimeout
			_, err := list.Join([]string{address})
			answers <- err
		}()
	}
	var errs []error
	for range others {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-answers:
			if err == nil {
				m.observe(list)
				return nil
			}
			errs = append(errs, err)
		}
	}
	return fmt.Errorf("no speaker answers: %w", errors.Join(errs...))
}

// Tell sends a message to another member, once; it may get lost.
func (m *Members) Tell(node string, message []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.list == nil {
		return errors.New("the membership does not run")
	}
	for _, x := range m.living(m.list) {
		if x.Node == node {
			return m.list.SendToAddress(memberlist.Address{Addr: m.endpoint(x.Address), Name: node}, message)
		}
	}
	return fmt.Errorf("there is no live speaker on node %q", node)
}

// Leave tells the others that this member goes, and returns when they were told or the timeout is over. It goes on
// answering until Run ends. It is called once; where Run does not run, there is nobody to tell.
func (m *Members) Leave(timeout time.Duration) error {
	close(m.left)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.list == nil {
		return nil
	}
	if err := m.list.Leave(timeout); err != nil {
		return fmt.Errorf("telling the other speakers that this one stops: %w", err)
	}
	return nil
}

// create returns the library's list, which listens.
func (m *Members) create() (*memberlist.Memberlist, error) {
	t, err := m.open(netip.AddrPortFrom(m.config.Address, m.config.Port), m.config.Log)
	if err != nil {
		return nil, err
	}
	c := m.listConfig()
	c.Transport = t
	list, err := memberlist.Create(c)
	if err != nil {
		_ = t.Shutdown()
	}
	return list, err
}

func (m *Members) listConfig() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = m.config.Node
	c.BindAddr, c.AdvertiseAddr = m.config.Address.String(), m.config.Address.String()
	c.BindPort, c.AdvertisePort = int(m.config.Port), int(m.config.Port)
	c.SecretKey = m.config.Key
	c.ProbeInterval, c.ProbeTimeout = probeInterval, probeTimeout
	c.GossipInterval, c.SuspicionMult, c.TCPTimeout = gossipInterval, suspicionMult, tcpTimeout
	c.EnableCompression = false         // a probe is a few bytes; packing it takes a third of an idle speaker's time
	c.DeadNodeReclaimTime = time.Second // a node may come back under another address
	c.Events, c.Delegate = events{m}, delegate{m}
	c.Logger = slog.NewLogLogger(m.config.Log.Handler(), slog.LevelDebug)
	return c
}

// join asks the peers that are not seen alive to join: a few first, since one that answers tells of all that it knows, and
// then those that are still not seen, all at the same time: one that does not answer, such as a node without power, takes
// as long as tcpTimeout.
func (m *Members) join(list *memberlist.Memberlist) {
	missing := m.missing(list)
	m.ask(list, missing[:min(len(missing), askedFirst)])
	if len(missing) > askedFirst {
		m.ask(list, m.missing(list))
	}
}

// peer is a node that may be a member.
type peer struct {
	node    string
	address netip.Addr
}

// missing returns the peers that are not seen alive, in any order.
func (m *Members) missing(list *memberlist.Memberlist) (out []peer) {
	alive := map[string]bool{m.config.Node: true}
	for _, n := range list.Members() {
		alive[n.Name] = true
	}
	for node, address := range m.config.Peers() {
		if !alive[node] {
			out = append(out, peer{node, address})
		}
	}
	return out
}

// ask asks peers to join, at the same time, and returns when each has answered or taken too long.
func (m *Members) ask(list *memberlist.Memberlist, peers []peer) {
	var g errgroup.Group
	g.SetLimit(joinsAtOnce)
	for _, p := range peers {
		at := m.endpoint(p.address)
		g.Go(func() error {
			if _, err := list.Join([]string{at}); err != nil {
				m.config.Log.Debug("no speaker answers", "node", p.node, "address", at, "error", err)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// endpoint returns where the member with an address of its node listens.
func (m *Members) endpoint(node netip.Addr) string {
	return netip.AddrPortFrom(node, m.config.Port).String()
}

// observe takes the list's state as the snapshot that Alive returns.
func (m *Members) observe(list *memberlist.Memberlist) {
	alive := m.living(list)
	m.alive.Store(&alive)
	m.config.Changed()
}

// living returns the members that the list has alive, by name. Of what the list hands out only the name may be read, the
// rest changes under its own lock: see events.
func (m *Members) living(list *memberlist.Memberlist) []plan.Member {
	var alive []plan.Member
	nodes := list.Members() // before the lock: the list holds its own while it notifies
	m.heardMu.Lock()
	defer m.heardMu.Unlock()
	for _, n := range nodes {
		alive = append(alive, m.heard[n.Name])
	}
	slices.SortFunc(alive, func(a, b plan.Member) int { return cmp.Compare(a.Node, b.Node) })
	return alive
}

func (m *Members) hear(x plan.Member) {
	m.heardMu.Lock()
	defer m.heardMu.Unlock()
	m.heard[x.Node] = x
}

// events receives memberlist's notifications. It is called with memberlist's lock held, which is when what a member says of
// itself may be read, and only notes that and marks the list as changed.
type events struct{ m *Members }

// NotifyJoin is called when a member came.
func (e events) NotifyJoin(n *memberlist.Node) {
	e.told("a speaker came", n)
	e.hear(n)
}

// NotifyLeave is called when a member left or was found dead.
func (e events) NotifyLeave(n *memberlist.Node) {
	e.told("a speaker went", n)
	e.mark()
}

// NotifyUpdate is called when a member said something else of itself.
func (e events) NotifyUpdate(n *memberlist.Node) { e.hear(n) }

func (e events) told(what string, n *memberlist.Node) {
	e.m.config.Log.Info(what, "node", n.Name, "address", n.Addr.String())
}

func (e events) hear(n *memberlist.Node) {
	address, _ := netip.AddrFromSlice(n.Addr)
	e.m.hear(plan.Member{Node: n.Name, Address: address.Unmap(), Facts: decodeFacts(n.Meta)})
	e.mark()
}

func (e events) mark() {
	select {
	case e.m.dirty <- struct{}{}:
	default:
	}
}
