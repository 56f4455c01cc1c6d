package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxProgrammerRanges is how many ranges of addresses a ProgrammerState lists at most: half a megabyte of text at the
// worst, where no two IPv6 addresses are neighbors.
const MaxProgrammerRanges = 5000

// MaxProgrammerNodePorts is how many node ports a ProgrammerState lists at most.
const MaxProgrammerNodePorts = 1000

// ProgrammerState is what the IPVS programmer of one node says of itself: there is one for each, named after its Node,
// which owns it, so that it goes when the Node does. The programmer writes it when something changes, at most once a
// second. By it the controller knows which addresses kube-proxy may leave alone, and the speakers from which nodes those
// may be announced. That a programmer is alive is told by a Lease beside it; of one that has been silent for a minute, while
// others are heard, the controller removes the object.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=programmerstates,scope=Namespaced,shortName=pgm
// +kubebuilder:printcolumn:name="Ready",type=boolean,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Addresses",type=integer,JSONPath=`.status.counts.addresses`
// +kubebuilder:printcolumn:name="Node Ports",type=integer,JSONPath=`.status.counts.nodePorts`
// +kubebuilder:printcolumn:name="Refused",type=integer,JSONPath=`.status.counts.refused`
// +kubebuilder:printcolumn:name="Problems",type=integer,JSONPath=`.status.counts.problems`
// +kubebuilder:printcolumn:name="Kube-Proxy",type=string,JSONPath=`.status.kubeProxy`
// +kubebuilder:printcolumn:name="Version",type=string,priority=1,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Started",type=date,JSONPath=`.status.startedAt`
type ProgrammerState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// status is all that there is. It is no subresource, so that the object is complete from its creation.
	// +optional
	Status ProgrammerStateStatus `json:"status,omitzero"`
}

// ProgrammerStateStatus is what a programmer says of itself.
type ProgrammerStateStatus struct {
	// version is that of the programmer.
	// +optional
	Version string `json:"version,omitempty"`

	// startedAt is when the programmer started.
	// +optional
	StartedAt metav1.Time `json:"startedAt,omitzero"`

	// bootID is the node's status.nodeInfo.bootID as the programmer found it. When the Node has another one, it has started
	// anew and serves nothing of this until its programmer tells so.
	// +optional
	BootID string `json:"bootID,omitempty"`

	// ready says that the kernel holds everything that is to be served here.
	// +optional
	Ready bool `json:"ready"`

	// kubeProxy is the mode in which kube-proxy runs on the node, or what does its work instead (Cilium, Calico), as far as
	// that can be seen.
	// +optional
	KubeProxy string `json:"kubeProxy,omitempty"`

	// missing are the kernel modules without which nothing is served.
	// +listType=atomic
	// +optional
	Missing []string `json:"missing,omitempty"`

	// addresses are the load balancers' addresses that the kernel serves with all that is planned for them, as ranges:
	// "192.0.2.1", "192.0.2.4-192.0.2.9". At most 5000 are listed.
	// +listType=atomic
	// +optional
	Addresses []string `json:"addresses,omitempty"`

	// truncated says that more is served than addresses, or nodePorts and morePorts, list. What is not listed counts as not
	// served.
	// +optional
	Truncated bool `json:"truncated,omitempty"`

	// nodePorts are the ports of NodePortRanges that are served here, or refused. At most 1000 are listed, the refused ones first.
	// +listType=atomic
	// +optional
	NodePorts []ProgrammerNodePort `json:"nodePorts,omitempty"`

	// morePorts are the ports that are served here and that nodePorts leaves out, as ranges: "33000-33999/TCP". At most 5000
	// are listed.
	// +listType=atomic
	// +optional
	MorePorts []string `json:"morePorts,omitempty"`

	// problems are what keeps the node from serving everything.
	// +listType=atomic
	// +optional
	Problems []SpeakerProblem `json:"problems,omitempty"`

	// counts says how much there is of everything, of what the lists leave out as well.
	// +optional
	Counts ProgrammerCounts `json:"counts,omitzero"`
}

// ProgrammerNodePort is one port of a NodePortRange on one node.
type ProgrammerNodePort struct {
	// service is the Service's namespace/name.
	// +required
	Service string `json:"service"`

	// port is the port with its protocol, as "33333/TCP", or a range of them, as "33000-33099/UDP".
	// +required
	Port string `json:"port"`

	// address is the node's.
	// +required
	Address string `json:"address"`

	// refused says that another process of the node listens on the port, which is not served here therefore.
	// +optional
	Refused bool `json:"refused,omitempty"`
}

// ProgrammerCounts are numbers of things.
type ProgrammerCounts struct {
	// addresses are those that are served.
	// +optional
	Addresses int32 `json:"addresses"`

	// nodePorts are the node ports that are served.
	// +optional
	NodePorts int32 `json:"nodePorts"`

	// refused are the node ports that are not.
	// +optional
	Refused int32 `json:"refused"`

	// problems are those that the programmer tells.
	// +optional
	Problems int32 `json:"problems"`
}

// ProgrammerStateList is a list of programmer states, as the API server returns it.
//
// +kubebuilder:object:root=true
type ProgrammerStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []ProgrammerState `json:"items"`
}
