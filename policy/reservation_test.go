package policy

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// reserve is an AddressReservation for x/web, unless options say otherwise.
func reserve(name string, options ...func(*v1alpha1.AddressReservation)) v1alpha1.AddressReservation {
	r := v1alpha1.AddressReservation{ObjectMeta: meta(name)}
	r.Spec.Service = &v1alpha1.ServiceReference{Namespace: "x", Name: "web"}
	for _, o := range options {
		o(&r)
	}
	return r
}

func address(a string) func(*v1alpha1.AddressReservation) {
	return func(r *v1alpha1.AddressReservation) { r.Spec.Address = a }
}
func anyOf(pool string, bound string) func(*v1alpha1.AddressReservation) {
	return func(r *v1alpha1.AddressReservation) { r.Spec.Pool, r.Status.Address = pool, bound }
}
func age(second int) func(*v1alpha1.AddressReservation) {
	return func(r *v1alpha1.AddressReservation) { r.CreationTimestamp = at(second) }
}
func selecting(s v1alpha1.ServiceSelector) func(*v1alpha1.AddressReservation) {
	return func(r *v1alpha1.AddressReservation) { r.Spec.Service, r.Spec.Selector = nil, &s }
}

func TestReservations(t *testing.T) {
	type reservations = []v1alpha1.AddressReservation
	neither := func(r *v1alpha1.AddressReservation) { r.Spec.Service = nil }
	for _, c := range []struct {
		name     string
		objects  reservations
		holds    string // the addresses, by name
		problems []string
	}{
		{"an address", reservations{reserve("r", address("10.0.0.7"))}, "[10.0.0.7]", nil},
		{"any of a pool, not bound yet", reservations{reserve("r", anyOf("a", ""))}, "[invalid IP]", nil},
		{"any of a pool, bound", reservations{reserve("r", anyOf("a", "10.0.0.8"))}, "[10.0.0.8]", nil},
		{"the older of two holds", reservations{reserve("r1", address("10.0.0.7"), age(1)), reserve("r2", address("10.0.0.7"))}, "[invalid IP 10.0.0.7]", []string{
			`AddressReservation "r1": the older AddressReservation "r2" holds 10.0.0.7: remove one of the two (AddressReserved)`}},
		{"of two that are bound to one address the younger takes another", reservations{reserve("r1", anyOf("a", "10.0.0.7")), reserve("r2", anyOf("a", "10.0.0.7"))}, "[10.0.0.7 invalid IP]", nil},
		{"bad ones", reservations{
			reserve("address", address("10.0.0.300")),
			reserve("both", address("10.0.0.1"), anyOf("a", "")),
			reserve("nobody", address("10.0.0.1"), neither),
			reserve("pool", anyOf("z", "")),
			reserve("selector", address("10.0.0.1"), selecting(v1alpha1.ServiceSelector{Labels: &bad})),
			reserve("what"),
		}, "[invalid IP invalid IP invalid IP invalid IP invalid IP invalid IP]", []string{
			`AddressReservation "address", spec.address: "10.0.0.300" is not an IP address (InvalidAddresses)`,
			`AddressReservation "both": set either spec.address or spec.pool (InvalidValue)`,
			`AddressReservation "nobody": set either spec.service or spec.selector (InvalidValue)`,
			`AddressReservation "pool" names pool "z", which does not exist: create it or correct the name (UnknownReference)`,
			`AddressReservation "selector", spec.selector.labels: ` + badText + ` (InvalidSelector)`,
			`AddressReservation "what": set either spec.address or spec.pool (InvalidValue)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, problems := Compile(Objects{Pools: []v1beta1.IPAddressPool{pool("a", "10.0.0.0/24")}, AddressReservations: c.objects}, nil)
			expect(t, problems, c.problems...)
			var holds []string
			for _, r := range p.Reservations {
				holds = append(holds, r.Address.String())
			}
			if got := fmt.Sprint(holds); got != c.holds {
				t.Errorf("they hold %s, want %s", got, c.holds)
			}
		})
	}
}

func TestBadReservationKeepsItsLastValue(t *testing.T) {
	objects := func(r v1alpha1.AddressReservation) Objects {
		return Objects{AddressReservations: []v1alpha1.AddressReservation{r}}
	}
	last, _ := Compile(objects(reserve("r", address("10.0.0.7"))), nil)
	p, problems := Compile(objects(reserve("r", address("nonsense"))), last)
	expect(t, problems, `AddressReservation "r", spec.address: "nonsense" is not an IP address (InvalidAddresses)`)
	if r := p.Reservations[0]; r.Address.String() != "10.0.0.7" || !r.For("x", "web", nil, nil) || r.Problem.Reason == "" {
		t.Errorf("it is %+v", r)
	}
	p, problems = Compile(objects(reserve("r", address("10.0.0.8"))), p)
	expect(t, problems)
	if r := p.Reservations[0]; r.Address.String() != "10.0.0.8" || r.Problem.Reason != "" {
		t.Errorf("once corrected it is %+v", r)
	}
}

func TestReservationIsForServices(t *testing.T) {
	app, front := is("app", "a"), is("tier", "front")
	for _, c := range []struct {
		name     string
		selector v1alpha1.ServiceSelector
		want     string // for x/web, y/web in a front namespace, y/other without labels
	}{
		{"everything", v1alpha1.ServiceSelector{}, "[true true true]"},
		{"a namespace", v1alpha1.ServiceSelector{Namespaces: []string{"x"}}, "[true false false]"},
		{"labels", v1alpha1.ServiceSelector{Labels: &app}, "[true true false]"},
		{"labelled namespaces", v1alpha1.ServiceSelector{NamespaceSelector: &front}, "[false true true]"},
		{"labels in labelled and named namespaces", v1alpha1.ServiceSelector{Namespaces: []string{"x"}, NamespaceSelector: &front, Labels: &app}, "[true true false]"},
		{"labels of nobody", v1alpha1.ServiceSelector{Labels: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "b"}}}, "[false false false]"},
	} {
		p, problems := Compile(Objects{AddressReservations: []v1alpha1.AddressReservation{reserve("r", address("10.0.0.1"), selecting(c.selector))}}, nil)
		expect(t, problems)
		r, web := p.Reservations[0], labels.Set{"app": "a"}
		yard := labels.Set{"tier": "front"}
		got := fmt.Sprint([]bool{r.For("x", "web", nil, web), r.For("y", "web", yard, web), r.For("y", "other", yard, nil)})
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
