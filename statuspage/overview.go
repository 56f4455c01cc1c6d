package statuspage

// This file holds what the first page shows, and its drawings.

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-lb/fairlead/explain"
)

// overview is the first page.
type overview struct {
	explain.Status
	Pools       []pool
	Urgent      []row // Services that wait or that nobody announces, the first of them
	MoreUrgent  int
	Established int
	Speakers    int
	Programmers bool      // some node has an IPVS programmer
	Since       time.Time // of the history
	Graph       graph
}

// pool is one pool with its history.
type pool struct {
	explain.PoolStatus
	History []int64
}

// mostUrgent is how many Services the first page lists.
const mostUrgent = 10

func (s *snapshot) overview() overview {
	o := overview{Status: s.Status, Graph: graphOf(s.Status.Sessions)}
	if len(s.History.Times) > 0 {
		o.Since = s.History.Times[0]
	}
	for _, p := range s.Status.Pools {
		o.Pools = append(o.Pools, pool{p, s.History.Pools[p.Name]})
	}
	urgent := slices.Concat(s.Status.Waiting, s.Status.Silent)
	for _, x := range urgent[:min(len(urgent), mostUrgent)] {
		o.Urgent = append(o.Urgent, row{x, x.State()})
	}
	o.MoreUrgent = len(urgent) - len(o.Urgent)
	for _, x := range s.Status.Sessions {
		if x.Established() {
			o.Established++
		}
	}
	for _, n := range s.Status.Nodes {
		if n.Speaker {
			o.Speakers++
		}
		o.Programmers = o.Programmers || n.Programmer != nil
	}
	return o
}

// sinceStart is the heading of the histories.
func (o *overview) sinceStart(now time.Time) string {
	if o.Since.IsZero() {
		return "Since start"
	}
	return "Since start, " + explain.Age(now, o.Since)
}

// nodeColumns are the headings of the table of nodes.
func (o *overview) nodeColumns() []string {
	if o.Programmers {
		return []string{"State", "Node", "Announces", "BGP sessions", "IPVS", "Speaker"}
	}
	return []string{"State", "Node", "Announces", "BGP sessions", "Speaker"}
}

// headingClass is the class of a column, by its heading.
func headingClass(name string) string {
	switch name {
	case "In use":
		return "wide"
	case "Services", "Announces", "BGP sessions":
		return "num"
	}
	return ""
}

// barOf returns the class and the width, in percent, of how much is in use.
func barOf(c explain.Count) (class, width string) {
	share := 0.0
	if c.Total > 0 {
		share = min(100, 100*float64(c.Assigned)/float64(c.Total))
	}
	switch {
	case c.Assigned >= c.Total:
		class = "bad"
	case share >= 75:
		class = "warn"
	default:
		class = "ok"
	}
	if c.Assigned > 0 {
		share = max(share, 1)
	}
	return class, fmt.Sprintf("%.2f", share)
}

func top(values []int64) int64 { return max(slices.Max(values), 1) }

// points are where the line of a history goes.
func points(values []int64) string {
	var out strings.Builder
	for i, v := range values {
		fmt.Fprintf(&out, "%.1f,%.1f ", 120*float64(i)/float64(len(values)-1), 23-22*float64(v)/float64(top(values)))
	}
	return strings.TrimSpace(out.String())
}

// standing is the class and the word for a node's state.
func standing(n *explain.NodeStatus) (class, word string) {
	switch {
	case !n.Speaker:
		return "bad", "no speaker"
	case !n.Ready:
		return "bad", "not Ready"
	case n.Excluded != "":
		return "warn", "excluded"
	case !n.Settled:
		return "warn", "settling"
	}
	return "ok", "ready"
}

func sessionsOf(n *explain.NodeStatus) string {
	if n.Sessions == 0 {
		return "\u2013"
	}
	return fmt.Sprintf("%d of %d", n.Established, n.Sessions)
}

func speakerOf(now time.Time, n *explain.NodeStatus) string {
	switch {
	case n.Excluded != "":
		return n.Excluded
	case n.Speaker:
		return n.Version + ", for " + explain.Age(now, n.Since)
	}
	return ""
}

// health is a class.
func health(good bool) string {
	if good {
		return "ok"
	}
	return "bad"
}

// many writes a number that may be very large.
func many(n int64) string {
	if n > 1<<40 {
		return "very many"
	}
	return fmt.Sprint(n)
}

// stamp writes a time for programs, in a <time> element.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// graph is the BGP sessions as lines between nodes and peers.
type graph struct {
	Width, Height int
	Nodes, Peers  []spot
	Lines         []line
	Hidden        int // sessions that have no room
	Label         string
}

// spot is one node or peer.
type spot struct {
	Name string
	X, Y int
}

// line is one session.
type line struct {
	Node, Peer     string
	Message        string
	Established    bool
	X1, Y1, X2, Y2 int
}

// The drawing's measures, in its own units.
const (
	graphWidth = 640
	leftX      = 210
	rightX     = 430
	rowHeight  = 26
	mostSpots  = 40 // on either side
)

// graphOf draws the sessions; where there are more nodes than have room, those with sessions that are not established come
// first.
func graphOf(sessions []explain.SessionStatus) graph {
	sorted := slices.Clone(sessions)
	slices.SortStableFunc(sorted, func(a, b explain.SessionStatus) int { return cmp.Compare(rank(a), rank(b)) })
	nodes, peers := map[string]bool{}, map[string]bool{}
	var shown []explain.SessionStatus
	g := graph{Width: graphWidth}
	for _, s := range sorted {
		if !nodes[s.Node] && len(nodes) == mostSpots || !peers[s.Peer] && len(peers) == mostSpots {
			g.Hidden++
			continue
		}
		nodes[s.Node], peers[s.Peer] = true, true
		shown = append(shown, s)
	}
	height := rowHeight * max(len(nodes), len(peers))
	g.Height = height + 10
	yOfNode, yOfPeer := place(&g.Nodes, nodes, leftX, height), place(&g.Peers, peers, rightX, height)
	good := 0
	for _, s := range shown {
		if s.Established() {
			good++
		}
		g.Lines = append(g.Lines, line{s.Node, s.Peer, s.Message, s.Established(), leftX + 8, yOfNode[s.Node], rightX - 8, yOfPeer[s.Peer]})
	}
	slices.Reverse(g.Lines) // what is not established is drawn last, above the rest
	g.Label = fmt.Sprintf("BGP sessions between %d nodes and %d peers: %d of %d established; the table below lists them", len(nodes), len(peers), good, len(shown))
	return g
}

func rank(s explain.SessionStatus) int {
	if s.Established() {
		return 1
	}
	return 0
}

// place spreads names over the height.
func place(out *[]spot, names map[string]bool, x, height int) map[string]int {
	at := make(map[string]int, len(names))
	i := 0
	for _, name := range sorted(names) {
		y := 5 + (2*i+1)*height/(2*len(names))
		*out, at[name] = append(*out, spot{name, x, y}), y
		i++
	}
	return at
}

func sorted(names map[string]bool) []string {
	out := make([]string, 0, len(names))
	for n := range names {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
