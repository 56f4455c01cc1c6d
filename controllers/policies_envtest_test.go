//go:build envtest

package controllers

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

func (s *story) policy(name string, spec v1alpha1.AddressPolicySpec) *v1alpha1.AddressPolicy {
	return &v1alpha1.AddressPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: name}, Spec: spec}
}

func (s *story) reservation(name string, spec v1alpha1.AddressReservationSpec) *v1alpha1.AddressReservation {
	return &v1alpha1.AddressReservation{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: name}, Spec: spec}
}

// shows waits until the condition of the object has the status and the reason.
func (s *story) shows(o client.Object, conditions func() []metav1.Condition, kind string, status metav1.ConditionStatus, reason verdict.Reason) {
	s.t.Helper()
	s.eventually(func() string {
		if err := s.admin.Get(s.ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(conditions(), kind)
		if c == nil || c.Status != status || c.Reason != string(reason) {
			return fmt.Sprintf("%s %s: condition %s is %+v, want %s %s", kindOf(o), o.GetName(), kind, c, status, reason)
		}
		return ""
	})
}

// claims returns the AddressClaims by their names.
func (s *story) claims() map[string]v1alpha1.AddressClaim {
	s.t.Helper()
	var list v1alpha1.AddressClaimList
	s.ok(s.admin.List(s.ctx, &list, client.InNamespace(s.config)))
	out := map[string]v1alpha1.AddressClaim{}
	for _, c := range list.Items {
		out[c.Name] = c
	}
	return out
}

func lasting(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

// TestARetainedAddressComesBack: with retain, a Service of the same name gets its address back, and nobody else does.
func TestARetainedAddressComesBack(t *testing.T) {
	s := newStory(t)
	pool := s.policy("keep", v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, Retain: lasting(time.Hour)})
	s.create(s.pool("p", "192.0.2.1-192.0.2.2"), pool)
	s.start(settings{})
	s.shows(pool, func() []metav1.Condition { return pool.Status.Conditions }, v1alpha1.ConditionReady, metav1.ConditionTrue, verdict.InForce)
	first := s.service("first")
	s.create(first)
	s.gets("first", "192.0.2.1")
	if c, ok := s.claims()["192.0.2.1"]; !ok || c.Spec.Service.UID != first.UID || c.Spec.ReleasedAt != nil {
		t.Errorf("an address that is shown has no claim of its Service: %+v", c.Spec)
	}

	s.delete(first)
	s.eventually(func() string {
		if c := s.claims()["192.0.2.1"]; c.Spec.RetainUntil == nil {
			return fmt.Sprintf("not retained: %+v", c.Spec)
		}
		return ""
	})
	s.create(s.service("second"))
	s.gets("second", "192.0.2.2")
	s.create(s.service("third"))
	s.waits("third", string(verdict.PoolExhausted), "")
	s.create(s.service("first"))
	s.gets("first", "192.0.2.1")
}

// TestAReleasedAddressRests: with reuseDelay, an address is given again only after its rest, and then by itself.
func TestAReleasedAddressRests(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("p", "192.0.2.1/32"), s.policy("rest", v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, ReuseDelay: lasting(3 * time.Second)}))
	s.start(settings{})
	first := s.service("first")
	s.create(first)
	s.gets("first", "192.0.2.1")
	s.delete(first)
	released := time.Now()
	s.create(s.service("second"))
	s.waits("second", string(verdict.PoolExhausted), "")
	s.gets("second", "192.0.2.1")
	if rested := time.Since(released); rested < 2*time.Second {
		t.Errorf("given again after %s, want a rest of 3 s in whole seconds", rested)
	}
}

// TestAClaimOfAnother: a claim that stands keeps an address from everyone else, even where no Service shows it, and a
// claim that means nothing is told.
func TestAClaimOfAnother(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("p", "192.0.2.1-192.0.2.2"), s.policy("keep", v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, Retain: lasting(time.Hour)}))
	now := metav1.Now()
	s.create(&v1alpha1.AddressClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "192.0.2.1"},
		Spec: v1alpha1.AddressClaimSpec{Address: "192.0.2.1", Pool: "p", ClaimedAt: now, ReleasedAt: &now, RetainUntil: &metav1.Time{Time: now.Add(time.Hour)},
			Service: v1alpha1.ClaimingService{Namespace: s.namespace, Name: "gone", UID: "0"}},
	}, &v1alpha1.AddressClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "odd"},
		Spec:       v1alpha1.AddressClaimSpec{Address: "192.0.2.9", Pool: "p", ClaimedAt: now, Service: v1alpha1.ClaimingService{Namespace: "x", Name: "x", UID: "0"}},
	})
	s.start(settings{})
	s.create(s.service("huazi"))
	s.gets("huazi", "192.0.2.2")
	s.toldOf(s.config, "AddressClaim", "odd", `Warning InvalidValue AddressClaim "odd" is for 192.0.2.9, so its name should be "192.0.2.9": delete it`)
	s.create(s.service("gone"))
	s.gets("gone", "192.0.2.1")
}

// TestAReservationHoldsAnAddress: for a Service that does not exist yet, and its status says who has it.
func TestAReservationHoldsAnAddress(t *testing.T) {
	s := newStory(t)
	for_ := func(name string) *v1alpha1.ServiceReference {
		return &v1alpha1.ServiceReference{Namespace: s.namespace, Name: name}
	}
	one := s.reservation("one", v1alpha1.AddressReservationSpec{Address: "192.0.2.1", Service: for_("late")})
	anyOf := s.reservation("any", v1alpha1.AddressReservationSpec{Pool: "p", Service: for_("later")})
	s.create(s.pool("p", "192.0.2.1-192.0.2.3"), one, anyOf)
	s.start(settings{})
	bound := func(o *v1alpha1.AddressReservation) {
		t.Helper()
		s.shows(o, func() []metav1.Condition { return o.Status.Conditions }, v1alpha1.ConditionBound, metav1.ConditionTrue, verdict.Bound)
	}
	bound(one)
	bound(anyOf)
	if anyOf.Status.Address != "192.0.2.2" || anyOf.Status.Service != nil {
		t.Errorf("the status of the second is %+v, want 192.0.2.2 and no Service yet", anyOf.Status)
	}
	s.create(s.service("early"))
	s.gets("early", "192.0.2.3")
	s.create(s.service("late"), s.service("later"))
	s.gets("late", "192.0.2.1")
	s.gets("later", "192.0.2.2")
	s.eventually(func() string {
		s.ok(s.admin.Get(s.ctx, client.ObjectKeyFromObject(anyOf), anyOf))
		if v := anyOf.Status.Service; v == nil || v.Name != "later" {
			return fmt.Sprintf("the status names %+v, want later", v)
		}
		return ""
	})
	s.delete(one)
	s.create(s.service("unlucky"))
	s.waits("unlucky", string(verdict.PoolExhausted), "")
}

// TestAQuotaIsEnforced, lowering it takes nothing away, and a raised one helps by itself.
func TestAQuotaIsEnforced(t *testing.T) {
	s := newStory(t)
	quota := s.policy("quota", v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, Quotas: []v1alpha1.Quota{{Namespaces: []string{s.namespace}, Addresses: 2}}})
	s.create(s.pool("p", "192.0.2.0/28"), quota)
	s.start(settings{})
	for _, name := range []string{"a", "b", "c"} {
		s.create(s.service(name))
		if name != "c" {
			s.gets(name, map[string]string{"a": "192.0.2.0", "b": "192.0.2.1"}[name])
		}
	}
	s.waits("c", string(verdict.QuotaExceeded), "")
	s.merge(quota, `{"spec":{"quotas":[{"addresses":1}]}}`)
	s.merge(s.get("a"), `{"metadata":{"labels":{"touched":"yes"}}}`)
	s.gets("a", "192.0.2.0")
	s.gets("b", "192.0.2.1")
	s.merge(quota, `{"spec":{"quotas":[{"addresses":3}]}}`)
	s.gets("c", "192.0.2.2")
}

// TestTwoPoliciesForOnePool: the higher priority is obeyed, the other one shows that it conflicts.
func TestTwoPoliciesForOnePool(t *testing.T) {
	s := newStory(t)
	low := s.policy("low", v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, Exclude: []string{"192.0.2.1"}})
	high := s.policy("high", v1alpha1.AddressPolicySpec{PoolNames: []string{"p"}, Priority: 1, Exclude: []string{"192.0.2.0"}})
	s.create(s.pool("p", "192.0.2.0/30"), low, high)
	s.start(settings{})
	of := func(o *v1alpha1.AddressPolicy) func() []metav1.Condition {
		return func() []metav1.Condition { return o.Status.Conditions }
	}
	s.shows(low, of(low), v1alpha1.ConditionConflicting, metav1.ConditionTrue, verdict.Conflicting)
	s.shows(high, of(high), v1alpha1.ConditionReady, metav1.ConditionTrue, verdict.InForce)
	s.create(s.service("huazi", func(v *corev1.Service) { v.Labels = map[string]string{"a": "b"} }))
	s.gets("huazi", "192.0.2.1")
	s.merge(high, `{"spec":{"strategy":"StableHash"}}`)
	s.delete(high)
	s.shows(low, of(low), v1alpha1.ConditionReady, metav1.ConditionTrue, verdict.InForce)
	s.gets("huazi", "192.0.2.1") // excluded now, but in use
}
