package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddressPolicy says how the pools that it selects give their addresses: in what order, to whom how many, and how soon
// again. A pool obeys one policy, the one with the highest priority, of equal ones the first by name; the others show
// the condition Conflicting. No policy ever takes an address away that a Service has.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=addresspolicies,scope=Namespaced,shortName=addrpol
// +kubebuilder:printcolumn:name="Strategy",type=string,JSONPath=`.spec.strategy`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.poolNames`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Conflicting",type=string,JSONPath=`.status.conditions[?(@.type=="Conflicting")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AddressPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec AddressPolicySpec `json:"spec"`
	// +optional
	Status AddressPolicyStatus `json:"status,omitzero"`
}

// AddressPolicySpec selects pools and says how they give their addresses.
type AddressPolicySpec struct {
	// poolNames names IPAddressPools that the policy is for.
	// +optional
	PoolNames []string `json:"poolNames,omitempty"`

	// poolSelectors adds the IPAddressPools whose labels match one of these selectors; one empty selector adds them
	// all. A policy with neither names nor selectors is for no pool.
	// +optional
	PoolSelectors []metav1.LabelSelector `json:"poolSelectors,omitempty"`

	// priority decides which of several policies a pool obeys: the highest number, of equal ones the first by name.
	// +kubebuilder:default:=0
	// +optional
	Priority int32 `json:"priority,omitempty"`

	// strategy is the order in which free addresses are given. Sharing, reservations and retained addresses come first.
	// +kubebuilder:default:=LowestFirst
	// +optional
	Strategy Strategy `json:"strategy,omitempty"`

	// reuseDelay is how long an address rests after its release before any Service may get it, so that caches and
	// connections of the former holder run out. Unset or 0: not at all.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="must be a duration, not negative"
	// +optional
	ReuseDelay *metav1.Duration `json:"reuseDelay,omitempty"`

	// retain is how long an address stays reserved, after its Service is deleted, for a Service of the same namespace
	// and name, which gets it back, even within reuseDelay. Unset or 0: not at all.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="must be a duration, not negative"
	// +optional
	Retain *metav1.Duration `json:"retain,omitempty"`

	// exclude lists what is never given, gateways for example: addresses, CIDRs or ranges, written as in an
	// IPAddressPool. A Service that has such an address keeps it.
	// +optional
	Exclude []string `json:"exclude,omitempty"`

	// quotas limit how many addresses namespaces have in the pools of this policy. Where several quotas are for a
	// namespace, all of them hold.
	// +optional
	Quotas []Quota `json:"quotas,omitempty"`

	// exclusive confines the Services that a pool's serviceAllocation admits to the pools of exclusive policies that
	// do so: where those are full, a Service waits and never falls through to another pool. Without a
	// serviceAllocation a pool admits nobody in particular, and exclusive says nothing. A pool or an address that a
	// Service asks for by annotation or field goes by that pool's serviceAllocation alone.
	// +optional
	Exclusive bool `json:"exclusive,omitempty"`
}

// Strategy is the order in which a pool gives its free addresses.
//
// +kubebuilder:validation:Enum=LowestFirst;LeastRecentlyUsed;StableHash
type Strategy string

const (
	// LowestFirst gives the lowest free address, range by range as the pool lists them.
	LowestFirst Strategy = "LowestFirst"
	// LeastRecentlyUsed gives addresses that no Service has had yet, lowest first, and then the one that was released
	// longest ago.
	LeastRecentlyUsed Strategy = "LeastRecentlyUsed"
	// StableHash gives the first free one of the addresses that a hash of the Service's namespace and name points to, so
	// that a Service of the same name gets the same address again where it is free.
	StableHash Strategy = "StableHash"
)

// Quota limits the addresses of the namespaces that it names or selects, of all of them together. It counts the distinct
// addresses of one policy's pools that their Services have; one that several Services share counts once, for the
// namespace of the Service that got it first. Lowering a quota takes nothing away.
type Quota struct {
	// namespaces names the namespaces that the quota is for. With neither names nor a selector it is for all.
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelector adds the namespaces whose labels match.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// addresses is the most addresses that these namespaces may have together, both families counted.
	// +kubebuilder:validation:Minimum=0
	// +required
	Addresses int32 `json:"addresses"`
}

// AddressPolicyStatus says whether the policy is in force; the controller writes it.
type AddressPolicyStatus struct {
	// conditions are the types Ready and Conflicting.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Types of the conditions in AddressPolicyStatus, AddressReservationStatus and NodePortRangeStatus.
const (
	// ConditionReady on an AddressPolicy: True when it is valid and at least one pool obeys it. On a NodePortRange: True when
	// it is valid and has ports that no older one has.
	ConditionReady = "Ready"
	// ConditionConflicting on an AddressPolicy: True when a pool that it selects obeys another policy.
	ConditionConflicting = "Conflicting"
	// ConditionBound on an AddressReservation: True when an address is held for those it is meant for, and nobody else
	// has it.
	ConditionBound = "Bound"
)

// AddressPolicyList is a list of policies, as the API server returns it.
//
// +kubebuilder:object:root=true
type AddressPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []AddressPolicy `json:"items"`
}
