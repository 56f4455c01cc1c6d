package policy

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// Reservation is an AddressReservation: an address that is held for some Services.
type Reservation struct {
	Name string
	UID  string
	// Address is the one that it holds: the one that it names or, of a pool, the one that its status shows. It is invalid
	// where there is none, or where an older reservation holds it.
	Address netip.Addr
	Pool    string // of which any one address is wanted, or "" where the address is named
	Family  Family // of that address, or 0: IPv4 where the pool has any, else IPv6
	// Problem is why the object as it stands is not in force; its reason is empty where it is.
	Problem verdict.Verdict

	Namespace, Service string // the one Service that it is for; "" where a selector says
	selected           Services
}

// For says whether the reservation is for the Service.
func (r *Reservation) For(namespace, name string, namespaceLabels, serviceLabels labels.Set) bool {
	if r.Service != "" {
		return r.Service == name && r.Namespace == namespace
	}
	return r.selected.Match(namespace, namespaceLabels, serviceLabels)
}

// reservation compiles one AddressReservation; a bad one keeps its last value, and otherwise holds nothing.
func (c *compiler) reservation(o *v1alpha1.AddressReservation, pools []v1beta1.IPAddressPool, last *Policy) Reservation {
	id, before := ref("AddressReservation", o), len(c.problems)
	r := Reservation{Name: o.Name, UID: string(o.UID), Pool: o.Spec.Pool}
	bound := o.Status.Address
	switch {
	case (o.Spec.Address == "") == (o.Spec.Pool == ""):
		c.report(id, verdict.InvalidValue, "%s: set either spec.address or spec.pool", id)
	case o.Spec.Address != "":
		bound = o.Spec.Address
		if _, err := parseAddr(bound); err != nil {
			c.report(id, verdict.InvalidAddresses, "%s, spec.address: %v", id, err)
		}
		if o.Spec.Family != "" {
			c.report(id, verdict.InvalidValue, "%s, spec.family: it goes with spec.pool only: remove it", id)
		}
	}
	r.Address, _ = parseAddr(bound)
	switch o.Spec.Family {
	case "":
	case v1alpha1.IPv4:
		r.Family = IPv4
	case v1alpha1.IPv6:
		r.Family = IPv6
	default:
		c.report(id, verdict.InvalidValue, "%s, spec.family: there is no family %q", id, o.Spec.Family)
	}
	c.holders(id, o, &r)
	if len(c.problems) > before {
		problem := c.problems[before].Verdict
		if good, ok := last.reservation(r.Name, r.UID); ok {
			r = good
		} else {
			r = Reservation{Name: r.Name, UID: r.UID}
		}
		r.Problem = problem
	} else if r.Pool != "" && !slices.ContainsFunc(pools, func(p v1beta1.IPAddressPool) bool { return p.Name == r.Pool }) {
		c.report(id, verdict.UnknownReference, "%s names pool %q, which does not exist: create it or correct the name", id, r.Pool)
	}
	return r
}

// holders compiles whom the reservation is for.
func (c *compiler) holders(id Ref, o *v1alpha1.AddressReservation, r *Reservation) {
	switch in := o.Spec.Selector; {
	case (o.Spec.Service == nil) == (in == nil):
		c.report(id, verdict.InvalidValue, "%s: set either spec.service or spec.selector", id)
	case in == nil:
		r.Namespace, r.Service = o.Spec.Service.Namespace, o.Spec.Service.Name
		if r.Namespace == "" || r.Service == "" {
			c.report(id, verdict.InvalidValue, "%s, spec.service: set namespace and name", id)
		}
	default:
		r.selected = c.services(id, "spec.selector", in)
	}
}

// reservation returns the compiled object of that name and UID.
func (p *Policy) reservation(name, uid string) (Reservation, bool) {
	if p != nil {
		for _, r := range p.Reservations {
			if r.Name == name && r.UID == uid {
				return r, true
			}
		}
	}
	return Reservation{}, false
}

// settleReservations leaves every address to one reservation, the oldest. They come oldest first, as their objects do.
func (c *compiler) settleReservations(objects []v1alpha1.AddressReservation, reservations []Reservation) {
	owner := map[netip.Addr]string{}
	for i := range reservations {
		r := &reservations[i]
		if !r.Address.IsValid() {
			continue
		}
		other, taken := owner[r.Address]
		if !taken {
			owner[r.Address] = r.Name
			continue
		}
		if r.Pool == "" { // otherwise any other address will do
			id := ref("AddressReservation", &objects[i])
			c.report(id, verdict.AddressReserved, "%s: the older AddressReservation %q holds %s: remove one of the two", id, other, r.Address)
			r.Problem = c.problems[len(c.problems)-1].Verdict
		}
		r.Address = netip.Addr{}
	}
}
