package controllers

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-lb/fairlead/allocator"
)

// maxConsequences is how many Services are named; the API server cuts what is longer than 4 KiB altogether.
const maxConsequences = 10

// Consequences says which Services would lose an address that they have, one sentence for each, by name: up to ten, then
// how many more. The decisions are those for the same Services before and after a change; what Services would lose
// without the change too is not its consequence.
func Consequences(services []allocator.Service, before, after []allocator.Decision) []string {
	order := make([]int, len(services))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(services[a].Namespace, services[b].Namespace), cmp.Compare(services[a].Name, services[b].Name))
	})
	texts := make([]string, len(services))
	for k, i := range order {
		texts[k] = consequence(&services[i], before[i].Addresses, after[i].Addresses)
	}
	return some(texts)
}

// some leaves out empty texts, and those after the first ten, which it counts.
func some(texts []string) (out []string) {
	more := 0
	for _, text := range texts {
		switch {
		case text == "":
		case len(out) == maxConsequences:
			more++
		default:
			out = append(out, text)
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out
}

// PortConsequences does the same for node ports.
func PortConsequences(services []allocator.NodePortService, before, after []allocator.NodePortDecision) []string {
	var texts []string
	for i := range services {
		s := &services[i]
		var lost []allocator.NodePort
		for _, n := range s.Held {
			if slices.Contains(before[i].Ports, n) && !slices.Contains(after[i].Ports, n) {
				lost = append(lost, n)
			}
		}
		if len(lost) > 0 && !s.Deleting {
			texts = append(texts, fmt.Sprintf("Service %s loses the node ports %s", s.Key, allocator.NodePortsText(lost)))
		}
	}
	slices.Sort(texts)
	return some(texts)
}

// consequence says what one Service would lose, or "".
func consequence(s *allocator.Service, before, after []netip.Addr) string {
	var lost, gained []netip.Addr
	for _, a := range s.Held {
		if slices.Contains(before, a) && !slices.Contains(after, a) {
			lost = append(lost, a)
		}
	}
	for _, a := range after {
		if !slices.Contains(s.Held, a) {
			gained = append(gained, a)
		}
	}
	switch {
	case len(lost) == 0 || s.Deleting:
		return ""
	case len(gained) == 0:
		return fmt.Sprintf("Service %s loses %s", s.Key, joinAddresses(lost))
	}
	return fmt.Sprintf("Service %s moves from %s to %s", s.Key, joinAddresses(lost), joinAddresses(gained))
}
