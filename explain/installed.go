package explain

// This file holds what is wrong with the installation as a whole: it is in another namespace, or its parts are of different
// versions.

import (
	"fmt"
	"maps"
	"slices"
)

// Installed returns an error where Fairlead is not in the namespace that is asked about but is in another one.
func (v *View) Installed() error {
	if len(v.Elsewhere) == 0 {
		return nil
	}
	return NotFoundError{fmt.Sprintf("there is no Fairlead in namespace %q, but there is in %s: give --namespace %s", v.Namespace, listed(v.Elsewhere, quoted), v.Elsewhere[0])}
}

// notes say what makes an answer doubtful, each with what to do.
func (v *View) notes() (out []string) {
	if len(v.Lacking) > 0 {
		out = append(out, fmt.Sprintf("the cluster's definitions are older than this version and lack %s: apply the CustomResourceDefinitions of this version (config/crd)", listed(v.Lacking, same)))
	}
	of := map[string][]string{} // the nodes, by version
	note := func(version, node string) {
		if version != "" && !slices.Contains(of[version], node) {
			of[version] = append(of[version], node)
		}
	}
	for i := range v.Speakers {
		note(v.Speakers[i].State.Version, v.Speakers[i].Node)
	}
	for i := range v.Programmers {
		note(v.Programmers[i].State.Version, v.Programmers[i].Node)
	}
	versions := slices.Sorted(maps.Keys(of))
	switch {
	case len(versions) > 1:
		text := listed(versions, func(x string) string { return fmt.Sprintf("%s on %s", x, listed(of[x], same)) })
		out = append(out, fmt.Sprintf("the nodes run different versions, %s: an upgrade is under way, or has stopped: see kubectl -n %s rollout status daemonset/fairlead-speaker", text, v.Namespace))
	case len(versions) == 1 && v.Version != "" && v.Version != versions[0]:
		out = append(out, fmt.Sprintf("the nodes run version %s, and this answer comes from version %s, which may decide otherwise: use the same version", versions[0], v.Version))
	}
	return out
}
