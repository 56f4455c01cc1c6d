package controllers

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// problem is one of the object with that UID.
func problem(uid string, reason verdict.Reason, message string) policy.Problem {
	return policy.Problem{
		Object:  policy.Ref{Kind: "IPAddressPool", Namespace: "metallb-system", Name: "pool-" + uid, UID: uid},
		Verdict: verdict.Verdict{Reason: reason, Message: message},
	}
}

func TestProblemsAreToldOnce(t *testing.T) {
	var problems problemLog
	var log logBuffer
	var events recorder
	a := problem("a", verdict.InvalidAddresses, "a is bad")
	a2 := problem("a", verdict.InvalidAddresses, "a is bad twice")
	overlap := problem("a", verdict.OverlappingAddresses, "a overlaps")
	b := problem("b", verdict.InvalidAddresses, "b is bad")
	for i, step := range []struct {
		now    []policy.Problem
		logged []string
		events []string
	}{
		{nil, nil, nil},
		{[]policy.Problem{a}, []string{"a is bad"}, []string{"a InvalidAddresses a is bad"}},
		{[]policy.Problem{a}, nil, nil},
		{[]policy.Problem{a, b}, []string{"b is bad"}, []string{"b InvalidAddresses b is bad"}},
		{[]policy.Problem{b}, []string{"no longer a problem: a is bad"}, nil},
		{[]policy.Problem{a, b}, []string{"a is bad"}, []string{"a InvalidAddresses a is bad"}}, // it went and came
		{nil, []string{"no longer a problem: a is bad", "no longer a problem: b is bad"}, nil},
		// One Event for an object and reason: the recorder would drop the second one's message.
		{[]policy.Problem{a, a2, overlap, b}, []string{"a is bad", "a is bad twice", "a overlaps", "b is bad"},
			[]string{"a InvalidAddresses a is bad; a is bad twice", "a OverlappingAddresses a overlaps", "b InvalidAddresses b is bad"}},
	} {
		before := len(log.String())
		problems.tell(configuration{problems: step.now, objects: map[string]runtime.Object{
			"a": &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{UID: "a"}},
			"b": &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{UID: "b"}},
		}}, log.logger(), &events)
		var logged, told []string
		for line := range strings.Lines(log.String()[before:]) {
			_, rest, _ := strings.Cut(line, `msg="`)
			message, rest, _ := strings.Cut(rest, `"`)
			logged = append(logged, message)
			if !strings.Contains(rest, "kind=IPAddressPool object=pool-") {
				t.Errorf("%q does not name its object", line)
			}
		}
		for _, e := range events.take() {
			told = append(told, string(uid(e.object))+" "+e.reason+" "+e.note)
			if e.kind != "Warning" {
				t.Errorf("%q is told as %s", e.note, e.kind)
			}
		}
		slices.Sort(logged) // what is over is told in no order
		if !slices.Equal(logged, step.logged) || !slices.Equal(told, step.events) {
			t.Errorf("step %d: logged %q, told %q\nwant          %q,      %q", i, logged, told, step.logged, step.events)
		}
	}
}

func uid(o runtime.Object) types.UID { return o.(metav1.Object).GetUID() }
