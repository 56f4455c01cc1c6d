package plan

import (
	"fmt"
	"slices"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// unknownInterfaces finds the interfaces that an L2Advertisement names and that none of its nodes has. Nothing is said
// while the links of a node with a live speaker are not known.
func (b *builder) unknownInterfaces() map[policy.Problem]struct{} {
	out := map[policy.Problem]struct{}{}
	for i := range b.Policy.L2Ads {
		ad := &b.Policy.L2Ads[i]
		if len(ad.Interfaces) == 0 {
			continue
		}
		names, known := b.linkNames(ad)
		if !known {
			continue
		}
		for _, name := range ad.Interfaces {
			if !slices.Contains(names, name) {
				out[policy.Problem{Object: ad.Ref, Verdict: verdict.Verdict{Reason: verdict.UnknownReference, Message: fmt.Sprintf(
					"%s names interface %q, which no node that it selects has: there are %s: correct the name", ad.Ref, name, listed(names))}}] = struct{}{}
			}
		}
	}
	return out
}

// linkNames returns the names of the links of the nodes that the advertisement selects, or of all nodes without one,
// sorted. They are not known unless those of all such nodes with a live speaker are.
func (b *builder) linkNames(ad *policy.L2Ad) (names []string, known bool) {
	set := map[string]struct{}{}
	for i := range b.Nodes {
		n := &b.Nodes[i]
		if ad != nil && !ad.SelectsNode(n.Labels) {
			continue
		}
		known = known || n.Links != nil
		for j := range n.Links {
			set[n.Links[j].Name] = struct{}{}
		}
	}
	for _, n := range b.present {
		known = known && (n.Links != nil || ad != nil && !ad.SelectsNode(n.Labels))
	}
	return sortedKeys(set), known
}
