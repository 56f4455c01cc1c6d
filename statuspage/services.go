package statuspage

// This file holds the table of Services: what is asked for in the address of the page, and the rows that it comes to.

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-lb/fairlead/explain"
)

// pageRows is how many Services are on one page.
const pageRows = 100

// table is a page of Services.
type table struct {
	Query, State, Pool, Node, Sort string
	Pools                          []string
	States                         []choice
	Columns                        []column
	Rows                           []row
	All, Matching, From, To        int
	Previous, Next                 string // addresses of pages, or ""
}

// choice is one state to choose.
type choice struct {
	Value, Name string
	Chosen      bool
}

// column is a heading that sorts.
type column struct {
	Name, Link string
	Sorted     string // "ascending", "descending" or "none", for aria-sort
}

// row is one Service.
type row struct {
	explain.ServiceStatus
	State explain.State
}

// services returns what is asked for. What cannot be understood is left out.
func (s *snapshot) services(q url.Values) table {
	t := table{Query: strings.TrimSpace(q.Get("q")), State: q.Get("state"), Pool: q.Get("pool"), Node: q.Get("node"), Sort: q.Get("sort"), All: len(s.Rows)}
	for _, p := range s.Status.Pools {
		t.Pools = append(t.Pools, p.Name)
	}
	for _, c := range []choice{{"", "all", false}, {string(explain.Announced), "announced", false}, {string(explain.Waiting), "without an address", false}, {string(explain.Silent), "not announced", false}} {
		c.Chosen = c.Value == t.State
		t.States = append(t.States, c)
	}
	var rows []row
	for i := range s.Rows {
		if r := (row{s.Rows[i], s.Rows[i].State()}); t.matches(&r) {
			rows = append(rows, r)
		}
	}
	t.sort(rows)
	t.columns()
	t.Matching = len(rows)
	page, _ := strconv.Atoi(q.Get("page"))
	last := max(1, (len(rows)+pageRows-1)/pageRows)
	page = min(max(page, 1), last)
	from, to := (page-1)*pageRows, min(page*pageRows, len(rows))
	t.Rows, t.From, t.To = rows[from:to], min(from+1, to), to
	if page > 1 {
		t.Previous = t.link("page", strconv.Itoa(page-1))
	}
	if page < last {
		t.Next = t.link("page", strconv.Itoa(page+1))
	}
	return t
}

// count says how many Services there are.
func (t *table) count() string {
	out := "None"
	if t.Matching > 0 {
		out = fmt.Sprintf("%d\u2013%d of %d", t.From, t.To, t.Matching)
	}
	if t.Matching != t.All {
		out += fmt.Sprintf(" that match, %d in all", t.All)
	}
	return out
}

func (t *table) matches(r *row) bool {
	switch {
	case t.State != "" && string(r.State) != t.State:
		return false
	case t.Pool != "" && !slices.Contains(strings.Split(r.Pool, ","), t.Pool):
		return false
	case t.Node != "" && !slices.Contains(r.Nodes, t.Node):
		return false
	case t.Query == "":
		return true
	}
	has := func(text string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(t.Query)) }
	if has(r.Service) || has(r.Pool) || has(string(r.Reason)) || has(r.Message) || slices.ContainsFunc(r.Nodes, has) {
		return true
	}
	for _, a := range r.Addresses {
		if has(a.String()) {
			return true
		}
	}
	return false
}

// The columns, by the names in the address of the page.
const (
	byName    = "name"
	byState   = "state"
	byAddress = "address"
	byPool    = "pool"
	byNode    = "node"
)

// sort sorts the rows; equal ones stay sorted by name.
func (t *table) sort(rows []row) {
	by, down := strings.CutPrefix(t.Sort, "-")
	compare := func(a, b row) int { return 0 }
	switch by {
	case byState:
		compare = func(a, b row) int { return cmp.Compare(b.State.Urgency(), a.State.Urgency()) }
	case byAddress:
		compare = func(a, b row) int {
			if len(a.Addresses) == 0 || len(b.Addresses) == 0 {
				return cmp.Compare(len(a.Addresses), len(b.Addresses))
			}
			return a.Addresses[0].Compare(b.Addresses[0])
		}
	case byPool:
		compare = func(a, b row) int { return cmp.Compare(a.Pool, b.Pool) }
	case byNode:
		compare = func(a, b row) int { return slices.Compare(a.Nodes, b.Nodes) }
	case byName:
		compare = func(a, b row) int { return cmp.Compare(a.Service, b.Service) }
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		if down {
			a, b = b, a
		}
		return compare(a, b)
	})
}

func (t *table) columns() {
	for _, c := range []struct{ by, name string }{{byState, "State"}, {byName, "Service"}, {byAddress, "Address"}, {byPool, "Pool"}, {byNode, "Node"}} {
		x := column{Name: c.name, Sorted: "none"}
		sort := c.by
		switch t.Sort {
		case c.by:
			x.Sorted, sort = "ascending", "-"+c.by
		case "-" + c.by:
			x.Sorted = "descending"
		}
		x.Link = t.link("sort", sort)
		t.Columns = append(t.Columns, x)
	}
}

// link returns the address of this table with one thing changed.
func (t *table) link(name, value string) string {
	q := url.Values{}
	for k, v := range map[string]string{"q": t.Query, "state": t.State, "pool": t.Pool, "node": t.Node, "sort": t.Sort} {
		if v != "" {
			q.Set(k, v)
		}
	}
	q.Set(name, value)
	return "/services?" + q.Encode()
}
