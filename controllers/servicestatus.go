package controllers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
)

// ConditionAssigned is the type of the Service condition that holds the verdict of allocation: True where the Service
// has an address.
const ConditionAssigned = "fairlead.io/Assigned"

// ConditionProgrammed is the type of the Service condition that a Service has which asks to be served by IPVS: True where it
// is, and its addresses have the ipMode Proxy.
const ConditionProgrammed = "fairlead.io/Programmed"

// maxConditionMessage is the limit that the API server sets on a condition's message, in bytes.
const maxConditionMessage = 32768

// change is what one write makes of a Service, and how it is told.
type change struct {
	service   *corev1.Service      // as it was read
	addresses []netip.Addr         // that it shows afterwards
	after     corev1.ServiceStatus // what it makes of the status
	moved     bool                 // of that, the load balancer too
	notes     map[string]any       // annotations to set; nil as a value: to remove
	event     *event               // about the Service; nil where nothing is to be told
	more      []about              // beside that
	since     time.Time            // since when it waited for the address that it gets; zero where that is not so
}

// event is what an Event on a Service says.
type event struct {
	kind string // corev1.EventTypeNormal or Warning
	verdict.Verdict
}

// about is an Event on a Service, which may be another one than the one that is written.
type about struct {
	service *corev1.Service
	event
}

// assign returns the change that makes the Service show the decisions on its addresses and on their modes, or false where it
// shows them already.
func assign(s *corev1.Service, d allocator.Decision, m mode.Decision, now time.Time) (change, bool) {
	held := allocator.Ingress(s)
	moved := !slices.Equal(held, d.Addresses) || len(held) != len(s.Status.LoadBalancer.Ingress)
	if m.Reason == "" && meta.FindStatusCondition(s.Status.Conditions, ConditionProgrammed) == nil {
		m.Proxied = proxied(s, d.Addresses) // a mode that is not ours stays
	}
	turned := !slices.Equal(proxied(s, held), m.Proxied)
	conditions := slices.Clone(s.Status.Conditions)
	said := meta.SetStatusCondition(&conditions, condition(s, d, now))
	said = setProgrammed(s, &conditions, m, now) || said
	annotations := map[string]any{}
	setAnnotation(s, annotations, allocator.AnnotationAllocatedFrom, d.Pool)
	if moved {
		setAnnotation(s, annotations, allocator.AnnotationAssignedAt, assignedAt(s, held, d, now))
	}
	setAnnotation(s, annotations, allocator.AnnotationOrphanedSince, instant(d.OrphanedSince))
	if !moved && !turned && !said && len(annotations) == 0 {
		return change{}, false
	}
	c := change{service: s, addresses: d.Addresses, moved: moved || turned, notes: annotations, event: tell(s, held, d, moved)}
	c.more = append(tellLegacyNames(s), tellMode(s, m)...)
	c.after = corev1.ServiceStatus{LoadBalancer: s.Status.LoadBalancer, Conditions: conditions}
	if c.moved {
		c.after.LoadBalancer.Ingress = ingress(d.Addresses, m.Proxied)
	}
	return c, true
}

// release returns the change that removes what an assignment left on a Service that is no load balancer any more, or
// false where nothing is left.
func release(s *corev1.Service) (change, bool) {
	annotations := map[string]any{}
	setAnnotation(s, annotations, allocator.AnnotationAllocatedFrom, "")
	setAnnotation(s, annotations, allocator.AnnotationAssignedAt, "")
	setAnnotation(s, annotations, allocator.AnnotationOrphanedSince, "")
	conditions := slices.Clone(s.Status.Conditions)
	said := meta.RemoveStatusCondition(&conditions, ConditionAssigned)
	said = meta.RemoveStatusCondition(&conditions, ConditionProgrammed) || said
	if !said && len(annotations) == 0 {
		return change{}, false
	}
	return change{
		service: s,
		after:   corev1.ServiceStatus{Conditions: conditions},
		moved:   true,
		notes:   annotations,
		event: &event{corev1.EventTypeNormal, verdict.Verdict{
			Reason:  verdict.Released,
			Message: fmt.Sprintf("the Service is of type %s now, so its address was freed", s.Spec.Type),
		}},
	}, true
}

func condition(s *corev1.Service, d allocator.Decision, now time.Time) metav1.Condition {
	c := metav1.Condition{
		Type:               ConditionAssigned,
		Status:             metav1.ConditionFalse,
		Reason:             string(d.Reason),
		Message:            cut(d.Message+legacyNote(s), maxConditionMessage),
		ObservedGeneration: s.Generation,
		LastTransitionTime: metav1.NewTime(now),
	}
	if len(d.Addresses) > 0 {
		c.Status = metav1.ConditionTrue
	}
	// The generation alone is no change of the verdict, and not worth a write.
	if old := meta.FindStatusCondition(s.Status.Conditions, ConditionAssigned); old != nil &&
		old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
		c.ObservedGeneration = old.ObservedGeneration
	}
	return c
}

// tell words the Event for a change, or nil where the verdict is the one that was told before.
func tell(s *corev1.Service, held []netip.Addr, d allocator.Decision, moved bool) *event {
	old := meta.FindStatusCondition(s.Status.Conditions, ConditionAssigned)
	repeated := !moved && old != nil && old.Reason == string(d.Reason) && withoutNote(old.Message) == withoutNote(cut(d.Message+legacyNote(s), maxConditionMessage))
	adopted := old == nil && !moved && d.Complete // assigned before Fairlead came: nothing happened to it
	switch {
	case len(d.Cleared) > 0:
		return warning(verdict.Cleared, "cleared %s, which is in no pool any more: %s", joinAddresses(d.Cleared), d.Message)
	case len(d.Lost) > 0:
		l := d.Lost[0] // a second one is the same Service's of the other family
		return warning(verdict.AddressConflict, "lost %s to %s, which held it earlier%s: %s", l.Address, l.To, l.Why, d.Message)
	case repeated || adopted:
		return nil
	case !d.Complete:
		return &event{corev1.EventTypeWarning, d.Verdict}
	case len(held) > 0 && !slices.Equal(held, d.Addresses):
		return &event{corev1.EventTypeNormal, verdict.Verdict{
			Reason:  verdict.Moved,
			Message: fmt.Sprintf("moved from %s: %s", joinAddresses(held), d.Message),
		}}
	}
	return &event{corev1.EventTypeNormal, d.Verdict}
}

func warning(reason verdict.Reason, format string, args ...any) *event {
	return &event{corev1.EventTypeWarning, verdict.Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}}
}

// tellHolder words the Event on the Service that has what another one loses.
func tellHolder(loser *corev1.Service, l allocator.Loss) event {
	return *warning(verdict.AddressConflict, "%s/%s had %s too, but later%s, and lost it", loser.Namespace, loser.Name, l.Address, l.Why)
}

// noteBegins is where the note about former names begins in a condition's message.
const noteBegins = "; by its former name: "

// legacyNote is what a condition's message says beside the verdict where annotations have former names, or "". It is how a
// controller that starts knows that the user was told.
func legacyNote(s *corev1.Service) string {
	former, today := allocator.LegacyNames(s)
	if len(former) == 0 {
		return ""
	}
	return noteBegins + fmt.Sprintf("%s, rename it to %s", strings.Join(former, " and "), strings.Join(today, " and "))
}

func withoutNote(message string) string {
	verdict, _, _ := strings.Cut(message, noteBegins)
	return verdict
}

// tellLegacyNames words the Event about former names where the condition has no note of them yet.
func tellLegacyNames(s *corev1.Service) []about {
	note := legacyNote(s)
	if old := meta.FindStatusCondition(s.Status.Conditions, ConditionAssigned); note == "" || old != nil && strings.HasSuffix(old.Message, note) {
		return nil
	}
	former, today := allocator.LegacyNames(s)
	e := warning(verdict.DeprecatedAnnotation, "%s still counts: rename it to %s", strings.Join(former, " and "), strings.Join(today, " and "))
	return []about{{s, *e}}
}

func joinAddresses(addresses []netip.Addr) string {
	text := addresses[0].String()
	for _, a := range addresses[1:] {
		text += " and " + a.String()
	}
	return text
}

// assignedAt returns since when the Service has had an address of ours. A Service of which at least one stays keeps its
// seniority, even where that is unknown, which counts as earliest.
func assignedAt(s *corev1.Service, held []netip.Addr, d allocator.Decision, now time.Time) string {
	switch {
	case len(d.Addresses) == 0:
		return ""
	case slices.ContainsFunc(d.Addresses, func(a netip.Addr) bool { return slices.Contains(held, a) }):
		return s.Annotations[allocator.AnnotationAssignedAt]
	}
	return instant(now)
}

// instant renders a time for an annotation; the zero time is "".
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// setAnnotation notes in the patch that the annotation is to have the value, or to go where the value is empty.
func setAnnotation(s *corev1.Service, patch map[string]any, name, value string) {
	old, there := s.Annotations[name]
	switch {
	case value == "" && there:
		patch[name] = nil
	case value != "" && old != value:
		patch[name] = value
	}
}

// setProgrammed sets or removes the condition of a Service that is to be served by IPVS, and says whether that changed it.
func setProgrammed(s *corev1.Service, conditions *[]metav1.Condition, m mode.Decision, now time.Time) bool {
	if m.Reason == "" {
		return meta.RemoveStatusCondition(conditions, ConditionProgrammed)
	}
	c := metav1.Condition{
		Type: ConditionProgrammed, Status: metav1.ConditionFalse, Reason: string(m.Reason), Message: cut(m.Message, maxConditionMessage),
		ObservedGeneration: s.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if m.Reason == verdict.Programmed {
		c.Status = metav1.ConditionTrue
	}
	if old := meta.FindStatusCondition(*conditions, ConditionProgrammed); old != nil {
		if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
			return false // the generation alone is not worth a write
		}
	}
	return meta.SetStatusCondition(conditions, c)
}

// tellMode words the Event for another verdict on what serves the Service than the one that was told before. Which node is
// waited for changes often, and is not told each time.
func tellMode(s *corev1.Service, m mode.Decision) []about {
	old := meta.FindStatusCondition(s.Status.Conditions, ConditionProgrammed)
	switch {
	case m.Reason == "" && (old == nil || len(proxied(s, allocator.Ingress(s))) == 0), old != nil && old.Reason == string(m.Reason):
		return nil
	case m.Reason == "":
		return []about{{s, event{corev1.EventTypeNormal, verdict.Verdict{
			Reason: verdict.LeftToKubeProxy, Message: "the Service is not to be served by IPVS any more, so kube-proxy serves it",
		}}}}
	case m.Reason == verdict.Programmed, m.Reason == verdict.NotProgrammed:
		return []about{{s, event{corev1.EventTypeNormal, m.Verdict}}}
	}
	return []about{{s, event{corev1.EventTypeWarning, m.Verdict}}}
}

// ingress renders addresses as a load balancer's status. The mode VIP says that packets arrive with the address as their
// destination, so that kube-proxy serves it; Proxy, that something else does.
func ingress(addresses, proxied []netip.Addr) []corev1.LoadBalancerIngress {
	var out []corev1.LoadBalancerIngress
	for _, a := range addresses {
		mode := corev1.LoadBalancerIPModeVIP
		if slices.Contains(proxied, a) {
			mode = corev1.LoadBalancerIPModeProxy
		}
		out = append(out, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode})
	}
	return out
}

// patch renders the change as a JSON merge patch (RFC 7386) of the status subresource that applies to just the version of
// the Service that was read. It is rendered when it is sent: ten thousand of them would be large.
func (c *change) patch() []byte {
	metadata := map[string]any{"uid": c.service.UID, "resourceVersion": c.service.ResourceVersion}
	if len(c.notes) > 0 {
		metadata["annotations"] = c.notes
	}
	status := map[string]any{"conditions": c.after.Conditions}
	if c.moved {
		status["loadBalancer"] = map[string]any{"ingress": c.after.LoadBalancer.Ingress}
	}
	b, err := json.Marshal(map[string]any{"metadata": metadata, "status": status})
	if err != nil {
		panic("rendering a patch of plain values: " + err.Error())
	}
	return b
}
