package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodePortRange opens ports of the nodes, outside the API server's own range of node ports, to Services: one asks by the
// annotation fairlead.io/node-ports, the controller gives it a port, and the IPVS programmers of the nodes that are
// selected serve it. A port is given once in the whole cluster. Where two ranges overlap, the older one has the overlap.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=nodeportranges,scope=Namespaced,shortName=npr
// +kubebuilder:printcolumn:name="Ports",type=string,JSONPath=`.spec.ports`
// +kubebuilder:printcolumn:name="Protocols",type=string,JSONPath=`.spec.protocols`
// +kubebuilder:printcolumn:name="Assigned",type=integer,JSONPath=`.status.assigned`
// +kubebuilder:printcolumn:name="Free",type=integer,JSONPath=`.status.free`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodePortRange struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// +required
	Spec NodePortRangeSpec `json:"spec"`
	// +optional
	Status NodePortRangeStatus `json:"status,omitzero"`
}

// NodePortRangeSpec says which ports there are, on which nodes, and for whom.
type NodePortRangeSpec struct {
	// ports are single ports and ranges of them: "20000", "33000-33999". They lie outside the API server's range of node
	// ports (its flag --service-node-port-range, of which the controller has to be told), and, unless allowReserved is set,
	// they are none of 22, 53, 179, 2379-2380, 6443, 10248-10259 and the ports that Fairlead itself uses.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:Pattern=`^[0-9]{1,5}(-[0-9]{1,5})?$`
	// +listType=atomic
	// +required
	Ports []string `json:"ports"`

	// protocols are those for which there are the ports; each has all of them. Unset: TCP and UDP.
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	// +optional
	Protocols []PortProtocol `json:"protocols,omitempty"`

	// nodeSelector selects the nodes that serve the ports. Unset: all nodes with an IPVS programmer.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`

	// nodeAddresses are CIDRs: a node serves the ports on those of its addresses that lie in one of them. Unset: on the
	// internal addresses that its Node names.
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	// +optional
	NodeAddresses []string `json:"nodeAddresses,omitempty"`

	// services says which Services may draw ports from the range. Unset: all. A Service that it does not admit any more
	// loses its ports.
	// +optional
	Services *ServiceSelector `json:"services,omitempty"`

	// allowReserved lets ports be given on which something of a cluster's own usually listens.
	// +optional
	AllowReserved bool `json:"allowReserved,omitempty"`

	// reserveLocally has the nodes that are selected not use the ports for connections of their own
	// (net.ipv4.ip_local_reserved_ports). Without it, such connections go on undisturbed beside what is served.
	// +optional
	ReserveLocally bool `json:"reserveLocally,omitempty"`
}

// PortProtocol is a protocol that has ports.
//
// +kubebuilder:validation:Enum=TCP;UDP;SCTP
type PortProtocol string

// NodePortRangeStatus says what became of the range; the controller writes it.
type NodePortRangeStatus struct {
	// assigned is how many ports Services have, each protocol counted.
	// +optional
	Assigned int32 `json:"assigned,omitempty"`

	// free is how many ports may still be given, each protocol counted.
	// +optional
	Free int32 `json:"free,omitempty"`

	// conditions are the type Ready.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodePortRangeList is a list of ranges, as the API server returns it.
//
// +kubebuilder:object:root=true
type NodePortRangeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []NodePortRange `json:"items"`
}
