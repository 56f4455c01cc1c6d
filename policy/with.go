package policy

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// With returns the objects as they would be after others were applied at some time: those of the same name take the place of
// what is there and keep its age; the others are the youngest.
func (o Objects) With(applied Objects, at time.Time) Objects {
	o.Pools = replaced(o.Pools, applied.Pools, at)
	o.L2Advertisements = replaced(o.L2Advertisements, applied.L2Advertisements, at)
	o.AddressPolicies = replaced(o.AddressPolicies, applied.AddressPolicies, at)
	o.AddressReservations = replaced(o.AddressReservations, applied.AddressReservations, at)
	o.NodePortRanges = replaced(o.NodePortRanges, applied.NodePortRanges, at)
	o.BGPPeers = replaced(o.BGPPeers, applied.BGPPeers, at)
	o.BGPAdvertisements = replaced(o.BGPAdvertisements, applied.BGPAdvertisements, at)
	o.BFDProfiles = replaced(o.BFDProfiles, applied.BFDProfiles, at)
	o.Communities = replaced(o.Communities, applied.Communities, at)
	return o
}

// replaced does it for one kind. The lists that it gets stay as they are.
func replaced[T any, P interface {
	*T
	metav1.Object
}](there, applied []T, at time.Time) []T {
	out := make([]T, 0, len(there)+len(applied))
	index := map[string]int{}
	for i := range there {
		index[P(&there[i]).GetNamespace()+"/"+P(&there[i]).GetName()] = len(out)
		out = append(out, there[i])
	}
	for i := range applied {
		x := applied[i]
		key := P(&x).GetNamespace() + "/" + P(&x).GetName()
		if at, ok := index[key]; ok {
			P(&x).SetUID(P(&out[at]).GetUID())
			P(&x).SetCreationTimestamp(P(&out[at]).GetCreationTimestamp())
			out[at] = x
			continue
		}
		P(&x).SetUID(types.UID("new " + key))
		P(&x).SetCreationTimestamp(metav1.Time{Time: at})
		index[key] = len(out)
		out = append(out, x)
	}
	return out
}
