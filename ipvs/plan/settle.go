package plan

import (
	"slices"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// claim is a front that a job wants. It is comparable.
type claim struct {
	job *job
	at  int // in its fronts
}

// settle takes from the jobs the fronts that they may not have: node ports on which another process listens, and ports
// that an earlier Service has.
func (b *builder) settle(jobs []*job) {
	of := func(c claim) front { return c.job.fronts[c.at] }
	claims := make([]claim, 0, len(jobs))
	for _, j := range jobs {
		for k := range j.fronts {
			claims = append(claims, claim{j, k})
		}
	}
	slices.SortFunc(claims, func(x, y claim) int { return of(x).Ports.Compare(of(y).Ports) })
	lost := map[claim]bool{}
	for start := 0; start < len(claims); {
		end := start + 1
		for reach := of(claims[start]).Last; end < len(claims) && follows(of(claims[start]), of(claims[end])) && of(claims[end]).First <= reach; end++ {
			reach = max(reach, of(claims[end]).Last)
		}
		if group := claims[start:end]; len(group) > 1 {
			slices.SortStableFunc(group, func(x, y claim) int { return seniority(x.job.Service, y.job.Service) })
			for i, c := range group {
				for _, earlier := range group[:i] {
					if lost[earlier] || lost[c] || !of(earlier).Ports.Overlaps(of(c).Ports) {
						continue
					}
					lost[c] = true
					b.tell(c.job.Service, verdict.PortConflict, "%s: Service %s has it since earlier", of(c).Ports, earlier.job.Service)
				}
			}
		}
		start = end
	}
	left := map[claim][]front{} // of ranges that are not lost as a whole
	for _, c := range claims {
		f := of(c)
		if f.kind != rangedNodePort && f.kind != nodePort {
			continue
		}
		if !lost[c] && f.port == nil {
			if rest, all := b.untaken(c.job, f); !all {
				left[c], lost[c] = rest, true
			}
			continue
		}
		if !lost[c] && slices.ContainsFunc(b.Taken, f.Ports.TakenBy) {
			lost[c] = true
			b.tell(c.job.Service, verdict.PortConflict, "%s: another process of node %s listens on it", f.Ports, b.Node)
		}
		if f.kind == rangedNodePort && lost[c] {
			b.plan.NodePorts = append(b.plan.NodePorts, Held{c.job.Namespace, c.job.Name, f.Ports, true})
		}
	}
	if len(lost) == 0 {
		return
	}
	for _, j := range jobs {
		kept := j.fronts[:0:0]
		for k, f := range j.fronts {
			if c := (claim{j, k}); lost[c] {
				kept = append(kept, left[c]...)
			} else {
				kept = append(kept, f)
			}
		}
		j.fronts = kept
	}
}

// untaken returns what is left of a range of node ports without those on which other processes listen, which it tells, and
// whether that is all of it.
func (b *builder) untaken(j *job, f front) (rest []front, all bool) {
	ports, all := []portrange.Range{f.Range}, true
	for _, t := range b.Taken {
		if !f.Ports.TakenBy(t) {
			continue
		}
		taken := Ports{f.Address, t.Range}
		b.tell(j.Service, verdict.PortConflict, "%s: another process of node %s listens on it", taken, b.Node)
		b.plan.NodePorts = append(b.plan.NodePorts, Held{j.Namespace, j.Name, taken, true})
		ports, all = portrange.Without(ports, t.Range), false
	}
	for _, r := range ports {
		rest = append(rest, front{Ports{f.Address, r}, f.kind, nil})
	}
	return rest, all
}

func follows(a, b front) bool { return a.Address == b.Address && a.Protocol == b.Protocol }
