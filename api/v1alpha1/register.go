package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion names this group and version. It is a variable only because Go has no constant structs.
var GroupVersion = schema.GroupVersion{Group: "fairlead.io", Version: "v1alpha1"}

// AddToScheme teaches a scheme the kinds of this package. It may be called more than once; the error is always nil and
// is there for the callers that collect such functions.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&AddressClaim{}, &AddressClaimList{},
		&AddressPolicy{}, &AddressPolicyList{},
		&AddressReservation{}, &AddressReservationList{},
		&NodePortRange{}, &NodePortRangeList{},
		&ProgrammerState{}, &ProgrammerStateList{},
		&SpeakerState{}, &SpeakerStateList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
