package allocator

import (
	"strings"
	"time"

	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// This file holds what becomes of ports in use that no NodePortRange gives their Services any more: they are kept for a time
// of grace, as addresses in no pool are, so that a mistake in a range can be undone.

// orphanedSince is since when a Service has kept such a port, now that it has one.
func (st *nodePorts) orphanedSince(s *NodePortService) time.Time {
	if s.OrphanedSince.IsZero() || s.OrphanedSince.After(st.Now) {
		return st.Now
	}
	return s.OrphanedSince
}

// graced says whether a Service keeps such a port.
func (st *nodePorts) graced(s *NodePortService) bool {
	return st.OrphanGrace > 0 && (s.Deleting || st.Now.Before(st.orphanedSince(s).Add(st.OrphanGrace)))
}

// orphaned adds to a decision that the Service keeps such ports, if it does.
func (st *nodePorts) orphaned(s *NodePortService, d NodePortDecision) NodePortDecision {
	var gone []string
	for _, n := range d.Ports {
		if ports, _ := s.Opens(n); !st.admits(s, ports) {
			gone = append(gone, ports.String())
		}
	}
	if len(gone) == 0 {
		return d
	}
	d.OrphanedSince = st.orphanedSince(s)
	until := d.OrphanedSince.Add(st.OrphanGrace)
	v := no(verdict.NodePortOrphaned, "%s %s until %s although no NodePortRange gives the Service %s any more", saysKeeps, NodePortsText(d.Ports), instant(until), strings.Join(gone, " and "))
	if !d.Complete {
		v.Message += ": " + d.Message
	}
	d.Complete, d.Verdict = false, v
	if !s.Deleting && until.After(st.Now) && (st.recheckAt.IsZero() || until.Before(st.recheckAt)) {
		st.recheckAt = until
	}
	return d
}
