package controllers

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

func TestStateOf(t *testing.T) {
	bad := problem("a", verdict.InvalidAddresses, "a is bad")
	valid, _ := stateOf(v1beta1.ConfigurationStateStatus{}, "t", nil, 1)
	invalid, _ := stateOf(v1beta1.ConfigurationStateStatus{}, "t", []policy.Problem{bad}, 1)
	byHand := *valid.DeepCopy()
	byHand.Result = v1beta1.ConfigurationUnknown
	foreign := v1beta1.ConfigurationStateStatus{Conditions: []metav1.Condition{{Type: "other", Status: "True"}}}
	for name, c := range map[string]struct {
		old      v1beta1.ConfigurationStateStatus
		problems []policy.Problem
		changed  bool
		want     string // result, summary, status and reason of the condition
	}{
		"the first one":         {v1beta1.ConfigurationStateStatus{}, nil, true, "Valid||True|Reconciled"},
		"sound as before":       {valid, nil, false, "Valid||True|Reconciled"},
		"turned bad":            {valid, []policy.Problem{bad}, true, "Invalid|a is bad|False|ConfigurationError"},
		"bad as before":         {invalid, []policy.Problem{bad}, false, "Invalid|a is bad|False|ConfigurationError"},
		"bad in another way":    {invalid, []policy.Problem{problem("b", verdict.InvalidAddresses, "b is bad")}, true, "Invalid|b is bad|False|ConfigurationError"},
		"several, in one order": {invalid, []policy.Problem{problem("b", verdict.InvalidAddresses, "b is bad"), bad}, true, "Invalid|a is bad; b is bad|False|ConfigurationError"},
		"corrected":             {invalid, nil, true, "Valid||True|Reconciled"},
		"changed by hand":       {byHand, nil, true, "Valid||True|Reconciled"},
		"others' conditions":    {foreign, nil, true, "Valid||True|Reconciled"},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.old.DeepCopy()
			got, changed := stateOf(c.old, "t", c.problems, 1)
			is := meta.FindStatusCondition(got.Conditions, "t")
			if text := string(got.Result) + "|" + got.ErrorSummary + "|" + string(is.Status) + "|" + is.Reason; text != c.want || changed != c.changed || is.Message != got.ErrorSummary {
				t.Errorf("%s, changed %t, message %q", text, changed, is.Message)
			}
			if diff := cmp.Diff(before, &c.old); diff != "" {
				t.Errorf("what comes from the cache was changed:\n%s", diff)
			}
		})
	}
}

func TestConfigurationStateObject(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-uid"}}
	controller := map[string]string{"metallb.io/component-type": "controller"}
	speaker := map[string]string{"metallb.io/component-type": "speaker", "metallb.io/node-name": "n1"}
	for name, c := range map[string]struct {
		state     *ConfigurationState
		object    string
		condition string
		labels    map[string]string
		owner     string
	}{
		"controller":                {&ConfigurationState{}, "controller", "poolReconcilerValid", controller, ""},
		"controller in a known pod": {&ConfigurationState{PodName: "c", PodUID: "u"}, "controller", "poolReconcilerValid", controller, "Pod c u"},
		"half a pod is none":        {&ConfigurationState{PodName: "c"}, "controller", "poolReconcilerValid", controller, ""},
		"speaker":                   {&ConfigurationState{Node: "n1"}, "speaker-n1", "configReconcilerValid", speaker, "Node n1 node-uid"},
		"speaker in a known pod":    {&ConfigurationState{Node: "n1", PodName: "s", PodUID: "u"}, "speaker-n1", "configReconcilerValid", speaker, "Pod s u"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.state
			s.Namespace, s.changed, s.client = "metallb-system", make(chan crevent.GenericEvent, 1), fakeClient(t, node.DeepCopy()).Build()
			pass := func() *v1beta1.ConfigurationState {
				t.Helper()
				if _, err := s.Reconcile(context.Background(), reconcile.Request{}); err != nil {
					t.Fatal(err)
				}
				var o v1beta1.ConfigurationState
				if err := s.client.Get(context.Background(), client.ObjectKey{Namespace: "metallb-system", Name: c.object}, &o); err != nil {
					return nil
				}
				return &o
			}
			if pass() != nil {
				t.Error("it says something before anything was compiled")
			}
			s.tell(nil)
			o := pass()
			if o == nil {
				t.Fatal("there is no object")
			}
			owner := ""
			for _, r := range o.OwnerReferences {
				owner += r.Kind + " " + r.Name + " " + string(r.UID)
			}
			if is := meta.FindStatusCondition(o.Status.Conditions, c.condition); o.Status.Result != "Valid" || is == nil || owner != c.owner || cmp.Diff(c.labels, o.Labels) != "" {
				t.Errorf("%+v", o)
			}
			<-s.changed
			s.tell([]policy.Problem{}) // the same
			if again := pass(); len(s.changed) != 0 || again.ResourceVersion != o.ResourceVersion {
				t.Error("written again though nothing changed")
			}
			s.tell([]policy.Problem{problem("a", verdict.InvalidAddresses, "a is bad")})
			s.tell([]policy.Problem{problem("a", verdict.InvalidAddresses, "a is worse")}) // does not wait for a reader
			if again := pass(); len(s.changed) != 1 || again.Status.ErrorSummary != "a is worse" {
				t.Errorf("%+v", again.Status)
			}
			if err := s.client.Delete(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			if again := pass(); again == nil || again.Status.ErrorSummary != "a is worse" {
				t.Errorf("deleted by hand, and then %+v", again)
			}
		})
	}
}

func TestNoConfigurationState(t *testing.T) {
	var s *ConfigurationState
	s.tell(nil) // says nothing, and does not fail
}
