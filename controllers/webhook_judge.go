package controllers

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// AnnotationAllowDisruption on a configuration object, with the value "true", lets a change of it or its deletion
// through although running Services lose addresses by it. On deletion it is the object's, so it has to be there before.
const AnnotationAllowDisruption = "fairlead.io/allow-disruption"

// Protection says what becomes of a change that would take addresses from running Services.
type Protection string

// The protections. ProtectDeletions is the default.
const (
	// ProtectDeletions refuses to delete a pool in use, and warns of every other such change.
	ProtectDeletions Protection = ""
	// ProtectRefuse refuses all such changes.
	ProtectRefuse Protection = "refuse"
	// ProtectWarn warns of all such changes.
	ProtectWarn Protection = "warn"
	// ProtectOff does not look for consequences at all.
	ProtectOff Protection = "off"
)

// ParseProtection reads what --protect-pools holds.
func ParseProtection(s string) (Protection, error) {
	switch p := Protection(s); p {
	case ProtectDeletions, ProtectRefuse, ProtectWarn, ProtectOff:
		return p, nil
	}
	return "", fmt.Errorf("%q: want refuse, warn or off", s)
}

// refuses says whether a change with consequences is refused.
func (p Protection) refuses(o admissionv1.Operation) bool {
	return p == ProtectRefuse || p == ProtectDeletions && o == admissionv1.Delete
}

// proposal is a change that somebody wants to make of one configuration object, and what it comes to.
type proposal struct {
	operation       admissionv1.Operation
	object          policy.Ref
	home            string           // the namespace that Fairlead reads its configuration from
	before, after   []policy.Problem // of all objects
	consequences    []string         // for running Services, as Consequences words them
	allowDisruption bool             // the object carries the annotation
}

// ruling is what is answered: a refusal, or "" and what the user is warned of.
type ruling struct {
	refusal  string
	warnings []string
}

// judge rules on a proposal.
func (p proposal) judge(protect Protection) ruling {
	if p.object.Namespace != p.home {
		return p.elsewhere()
	}
	faults, warnings := p.faults()
	warnings = append(warnings, p.consequences...)
	switch {
	case len(faults) > 0:
		return ruling{refusal: strings.Join(faults, "; ")}
	case len(p.consequences) > 0 && protect.refuses(p.operation) && !p.allowDisruption:
		return ruling{refusal: p.inUse()}
	}
	return ruling{warnings: warnings}
}

// elsewhere rules on an object outside the configuration namespace: no new ones; those that are there may go on.
func (p proposal) elsewhere() ruling {
	switch p.operation {
	case admissionv1.Create:
		return ruling{refusal: p.object.Elsewhere(p.home)}
	case admissionv1.Update:
		return ruling{warnings: []string{fmt.Sprintf("%s in namespace %q has no effect: Fairlead reads its configuration in namespace %q only", p.object, p.object.Namespace, p.home)}}
	}
	return ruling{}
}

// inUse words the refusal of a change with consequences.
func (p proposal) inUse() string {
	change := "this change"
	if p.operation == admissionv1.Delete {
		change = "deleting it"
	}
	return fmt.Sprintf("%s is in use, and %s would disturb running Services: %s: delete or move them first, or set the annotation %s: \"true\" on the %s",
		p.object, change, strings.Join(p.consequences, "; "), AnnotationAllowDisruption, p.object.Kind)
}

// faults sorts what would be wrong into what the proposal is refused for and what the user is only warned of. It is
// refused for what is wrong with the object itself and for what it would make wrong with another one. It is not refused
// for what was wrong before, so that a label can be set on an object that was bad already; nor for a name that refers
// to nothing, since manifests come in any order. A BFDProfile is not deleted while a BGPPeer names it, as with MetalLB.
func (p proposal) faults() (refused, warned []string) {
	for _, x := range p.after {
		own, known := same(x.Object, p.object), p.known(x)
		switch {
		case !own && known:
		case p.operation == admissionv1.Delete && p.object.Kind == "BFDProfile" && x.Reason == verdict.UnknownReference && !p.allowDisruption:
			refused = append(refused, fmt.Sprintf("%s is in use, and would be missing: %s", p.object, x.Message))
		case known, x.Reason.Warns(), p.operation == admissionv1.Delete:
			warned = append(warned, x.Message)
		default:
			refused = append(refused, x.Message)
		}
	}
	return refused, warned
}

// known says whether a problem was there before. That of another object may be worded anew: an overlap that shrinks is
// still the same problem.
func (p proposal) known(x policy.Problem) bool {
	own := same(x.Object, p.object)
	return slices.ContainsFunc(p.before, func(y policy.Problem) bool {
		return same(x.Object, y.Object) && x.Reason == y.Reason && (x.Message == y.Message || !own)
	})
}

func same(a, b policy.Ref) bool {
	return a.Kind == b.Kind && a.Namespace == b.Namespace && a.Name == b.Name
}
