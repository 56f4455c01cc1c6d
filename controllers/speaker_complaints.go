package controllers

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
)

// complaints remembers what was told of what is wrong, so that it is told once.
type complaints struct {
	conflicts map[rival]struct{}
	services  map[serviceComplaint]struct{} // Services that nobody can announce
	kernel    map[string]struct{}           // sentences
}

// rival is another host that uses an address. It is comparable.
type rival struct {
	address netip.Addr
	mac     [6]byte
}

// serviceComplaint is what is wrong with an address of a Service. It is comparable.
type serviceComplaint struct {
	told
	verdict.Verdict
}

// conflicts tells of other hosts that use an address which is announced here: an Event on each Service that has it.
func (a *Announcing) conflicts(r speaker.Report, conflicts []layer2.Conflict) {
	now := map[rival]struct{}{}
	for _, c := range conflicts {
		x := rival{c.Address, c.MAC}
		now[x] = struct{}{}
		if _, ok := a.complaint.conflicts[x]; ok {
			continue
		}
		message := fmt.Sprintf("another host, %s, uses %s on %s of node %q: one of them has to give it up", c.HardwareAddr(), c.Address, c.Link.Name, a.Node)
		if c.Node != "" {
			message = fmt.Sprintf("the speaker of node %q announces %s on %s, too: the one that comes first for it goes on", c.Node, c.Address, c.Link.Name)
		}
		a.Log.Warn(message, "address", c.Address.String(), "mac", c.HardwareAddr().String(), "node", c.Node)
		for i := range r.Plan.Verdicts {
			if v := &r.Plan.Verdicts[i]; v.Address == c.Address && v.Owner == a.Node {
				a.event(told{allocator.Key{Namespace: v.Namespace, Name: v.Name}, v.Address, layer2Protocol}, corev1.EventTypeWarning, verdict.AddressUsedTwice, message)
			}
		}
	}
	a.complaint.conflicts = now
}

// withoutInterface tells of addresses that nobody announces for want of an interface: one Event for each, by the first of
// the live speakers.
func (a *Announcing) withoutInterface(r speaker.Report) {
	now := map[serviceComplaint]struct{}{}
	for i := range r.Plan.Verdicts {
		v := &r.Plan.Verdicts[i]
		if v.Reason != verdict.NoInterface || v.Owner != "" && v.Owner != a.Node {
			continue
		}
		x := serviceComplaint{told{allocator.Key{Namespace: v.Namespace, Name: v.Name}, v.Address, layer2Protocol}, v.Verdict}
		now[x] = struct{}{}
		if _, ok := a.complaint.services[x]; !ok && (isFirst(r, a.Node) || v.Owner == a.Node) {
			a.event(x.told, corev1.EventTypeWarning, v.Reason, v.Message)
		}
	}
	a.complaint.services = now
}

// kernelAnswers returns where the kernel answers in this speaker's place, and logs what is new of it.
func (a *Announcing) kernelAnswers(r speaker.Report) []string {
	if a.KernelAnswers == nil {
		return nil
	}
	var names []string
	for i := range r.Local.Links {
		names = append(names, r.Local.Links[i].Name)
	}
	now := map[string]struct{}{}
	said := a.KernelAnswers(names)
	for _, message := range said {
		now[message] = struct{}{}
		if _, ok := a.complaint.kernel[message]; !ok {
			a.Log.Warn(message)
		}
	}
	a.complaint.kernel = now
	return said
}

// event records an Event on a Service, about one of its addresses.
func (a *Announcing) event(x told, kind string, reason verdict.Reason, message string) {
	action := "Announce"
	if x.protocol == bgpProtocol {
		action = "AnnounceByBGP"
	}
	record(a.Events, &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: x.Namespace, Name: x.Name, UID: a.kept.uid(x.Key),
		// Tells the addresses of one Service apart, by what does not depend on the words of the message.
		FieldPath: fmt.Sprintf("status.loadBalancer.ingress{%s}", x.address),
	}, kind, reason, action, message)
}
