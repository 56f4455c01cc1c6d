package policy

import (
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// communitySet is a Community object: names for communities.
type communitySet struct {
	Ref
	aliases []alias // in the order of the specification
}

// alias is a name and the one community that it stands for.
type alias struct {
	name  string
	value Communities
}

func (s *communitySet) ref() Ref { return s.Ref }

// communities compiles the Community objects and returns what each name stands for. Of two objects that define a name the
// older one does.
func (c *compiler) communities(objects []v1beta1.Community, last *Policy) ([]communitySet, map[string]Communities) {
	var sets []communitySet
	values, definedBy := map[string]Communities{}, map[string]Ref{}
	for _, o := range oldestFirst(objects) {
		set := c.communitySet(&o, last)
		for _, x := range set.aliases {
			if other, ok := definedBy[x.name]; ok {
				c.report(set.Ref, verdict.DuplicateName, "%s defines %q, which the older %s defines as %s: remove one of the two", set.Ref, x.name, other, values[x.name])
				continue
			}
			values[x.name], definedBy[x.name] = x.value, set.Ref
		}
		sets = append(sets, set)
	}
	sortByName(sets, (*communitySet).ref)
	return sets, values
}

// communitySet compiles one object. A bad one keeps its last value; without one, what of it is good counts.
func (c *compiler) communitySet(o *v1beta1.Community, last *Policy) communitySet {
	id, before := ref("Community", o), len(c.problems)
	set := communitySet{Ref: id}
	seen := map[string]bool{}
	for i, x := range o.Spec.Communities {
		value, err := ParseCommunity(x.Value)
		switch {
		case x.Name == "":
			c.report(id, verdict.InvalidValue, "%s, spec.communities[%d]: it has no name", id, i)
		case err != nil:
			c.report(id, verdict.InvalidValue, "%s, spec.communities[%d].value: %v", id, i, err)
		case seen[x.Name]:
			c.report(id, verdict.DuplicateName, "%s, spec.communities[%d]: it defines %q again: remove one of the two", id, i, x.Name)
		default:
			set.aliases = append(set.aliases, alias{x.Name, value})
		}
		seen[x.Name] = true
	}
	if len(c.problems) > before && last != nil {
		if good, ok := find(last.aliases, id, (*communitySet).ref); ok {
			return *good
		}
	}
	return set
}
