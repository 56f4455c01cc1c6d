package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPAddressPool is a set of addresses, IPv4 and IPv6 alike, from which Services of type LoadBalancer get theirs. A pool
// only hands out addresses; an L2Advertisement or BGPAdvertisement that covers it makes them reachable.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=ipaddresspools,scope=Namespaced,shortName=ipap
// +kubebuilder:printcolumn:name="Auto Assign",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="Avoid Buggy IPs",type=boolean,JSONPath=`.spec.avoidBuggyIPs`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
type IPAddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec IPAddressPoolSpec `json:"spec"`
	// +optional
	Status IPAddressPoolStatus `json:"status,omitzero"`
}

// IPAddressPoolSpec says which addresses a pool has and which Services may take them.
type IPAddressPoolSpec struct {
	// addresses are the pool's ranges, each a CIDR prefix ("192.0.2.0/24", "2001:db8::/120") or the first and last
	// address joined by a hyphen ("192.0.2.10-192.0.2.20"). Both families may stand in one list, which is what a
	// dual-stack Service needs. At least one range is wanted.
	// +required
	Addresses []string `json:"addresses"`

	// autoAssign tells whether a Service that names neither pool nor address may get one from here. With false the
	// pool serves explicit requests only.
	// +kubebuilder:default:=true
	// +optional
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// avoidBuggyIPs keeps back IPv4 addresses whose last octet is 0 or 255, which some old equipment takes for
	// network or broadcast addresses and drops.
	// +kubebuilder:default:=false
	// +optional
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`

	// serviceAllocation keeps the pool for the Services that it describes, and ranks it among the pools that they
	// could use. Without it every Service may use the pool.
	// +optional
	AllocateTo *ServiceAllocation `json:"serviceAllocation,omitempty"`
}

// ServiceAllocation describes the Services a pool is meant for. A Service fits when its namespace is named or selected
// and its labels are selected; where neither names nor selectors are given, all namespaces or all labels fit.
type ServiceAllocation struct {
	// priority ranks pools that fit the same Service: the lowest number is tried first. 0, the same as unset, is
	// tried last.
	// +optional
	Priority int `json:"priority,omitempty"`

	// namespaces names the namespaces whose Services may use the pool, each at most once.
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelectors adds the namespaces whose labels match one of these selectors.
	// +optional
	NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors,omitempty"`

	// serviceSelectors limits the pool to Services whose labels match one of these selectors.
	// +optional
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// IPAddressPoolStatus counts the addresses of a pool; the controller writes it. A count that exceeds 64 bits, as a large
// IPv6 prefix has it, is given as the largest int64.
type IPAddressPoolStatus struct {
	// assignedIPv4 is the number of the pool's IPv4 addresses in use; one that several Services share counts once.
	// +required
	AssignedIPv4 int64 `json:"assignedIPv4"`

	// assignedIPv6 is the number of the pool's IPv6 addresses in use; one that several Services share counts once.
	// +required
	AssignedIPv6 int64 `json:"assignedIPv6"`

	// availableIPv4 is the number of the pool's IPv4 addresses that are still free.
	// +required
	AvailableIPv4 int64 `json:"availableIPv4"`

	// availableIPv6 is the number of the pool's IPv6 addresses that are still free.
	// +required
	AvailableIPv6 int64 `json:"availableIPv6"`
}

// IPAddressPoolList is a list of pools, as the API server returns it.
//
// +kubebuilder:object:root=true
type IPAddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []IPAddressPool `json:"items"`
}
