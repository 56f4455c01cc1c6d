package verdict

// Commands that several Reasons lead to.
const (
	showService  = "kubectl -n NAMESPACE get service NAME -o yaml"
	explain      = "fairlead explain svc NAMESPACE/NAME"
	endpoints    = "kubectl -n NAMESPACE get endpointslices -l kubernetes.io/service-name=NAME"
	pools        = "kubectl -n HOME get ipaddresspools"
	policies     = "kubectl -n HOME get addresspolicies"
	reservations = "kubectl -n HOME get addressreservations,addressclaims"
	ads          = "kubectl -n HOME get l2advertisements,bgpadvertisements -o wide"
	portRanges   = "kubectl -n HOME get nodeportranges"
	peers        = "kubectl -n HOME get bgppeers"
	nodes        = "kubectl get nodes --show-labels"
	speakers     = "kubectl -n HOME get pods -o wide"
	states       = "kubectl -n HOME get speakerstates -o yaml"
	programmers  = "kubectl -n HOME get programmerstates -o wide"
	object       = "kubectl -n HOME describe KIND NAME"
)

const nothing = "Nothing."

// Topics returns all Reasons with what is to be said of them.
func Topics() []Topic {
	return []Topic{
		{"Addresses", "In the condition `fairlead.io/Assigned` of a Service, in its Events, and in the metrics of the controller.", addresses()},
		{"Pools that a Service does not draw from", "In `fairlead explain svc`, for each pool, beside the reasons above.", passedOver()},
		{"Announcements", "In the Events of a Service, in the status of announcements, and in `fairlead explain`; one for each address and node.", announcements()},
		{"Configuration", "In the Events of configuration objects, in the ConfigurationStates, in the webhooks' answers and in `fairlead lint`.", problems()},
		{"ConfigurationStates", "In the conditions of these objects.", configurations()},
		{"AddressPolicies, AddressReservations and NodePortRanges", "In the conditions of these objects, beside the reasons above.", conditions()},
		{"Sessions and speakers", "In the Events of BGPPeers and in the SpeakerStates.", sessions()},
		{"Virtual servers", "In the condition `fairlead.io/Programmed` of a Service, in its Events, and in what the IPVS programmer of a node says of itself.", programming()},
		{"Node ports", "In the condition `fairlead.io/NodePorts` of a Service that asks for ports of NodePortRanges, and in its Events.", nodePorts()},
		{"Manifests", "In `fairlead lint` only.", manifests()},
	}
}

func programming() []Doc {
	return []Doc{
		{Programmed, "Every node that may announce the Service's addresses serves them by IPVS, so their ipMode is Proxy, and kube-proxy leaves them alone.", nothing, ""},
		{NoProgrammer, "The Service, or its ports of NodePortRanges, are to be served by IPVS, but no node's programmer has reported for 10 s, or there is none. kube-proxy serves the addresses; nothing serves the ports.",
			"Look whether `fairlead ipvs` runs on the nodes, and what it says.", programmers},
		{LeftToKubeProxy, "The Service was served by IPVS, and is not to be any more, so kube-proxy serves it. Told once.", nothing, ""},
		{SchedulerUnavailable, "The node's kernel has no module for the scheduler that the annotation fairlead.io/ipvs-scheduler names, so the default one is used; or it is another one that keeps the clients of a Service with sessionAffinity where a firewall mark serves it.",
			"Install the kernel's module (ip_vs_NAME), or name another scheduler.", showService},
		{PortConflict, "A port that the Service wants on one of its addresses, or on the node, is another Service's, or another process of the node listens on it.",
			"Change the port of one of them.", showService},
		{WrongFamily, "The Service has an address of a family in which none of its pods has one.", "Set the Service's ipFamilies to what its pods have.", endpoints},
		{ModulesMissing, "The kernel of the node lacks modules that the IPVS programmer needs, so it serves nothing there and waits for them.",
			"Install the modules that the message names (in Debian's and Ubuntu's cloud images: linux-modules-extra) and load them.", nodes},
		{ProgrammingFailed, "The kernel of the node refused a part of what it is to serve; the rest is served, and this part is tried again.",
			"See the message, and the log of the programmer on that node.", speakers},
		{KubeProxyIPVS, "kube-proxy runs in IPVS mode on the node. It deletes virtual servers that it does not know, so all of Fairlead's are firewall-mark servers there.",
			"Nothing. The lines that the message names keep kube-proxy from trying to delete them in vain. To have servers with addresses, as ipvsadm -Ln shows them best, run kube-proxy in another mode.", ""},
		{KubeProxyReplaced, "Cilium or Calico serves Services on the node by eBPF, which sees packets before IPVS does. IPVS serves what that leaves alone: addresses with ipMode Proxy, Services with the label service.kubernetes.io/service-proxy-name, and ports of NodePortRanges.",
			"See docs/ipvs.md, \"Beside kube-proxy\", for the versions that know ipMode.", ""},
	}
}

func nodePorts() []Doc {
	return []Doc{
		{NodePortsAssigned, "The Service has every port that it asks for, and at least one node serves each.", nothing, ""},
		{NodePortsNotServed, "The Service has its ports, and no node serves all of them yet: the IPVS programmers take a moment; or no node that the NodePortRange selects has one, or has an address of spec.nodeAddresses, or something else listens on the port there.",
			"Look at what the programmers report.", programmers},
		{NodePortsReleased, "The Service asks for no ports any more, so those that it had are free. Told once.", nothing, ""},
		{NodePortOrphaned, "No NodePortRange has the port any more, or none that has it admits the Service. The Service keeps it for the time of grace (`--orphan-grace`, five minutes unless set), and is served on as before by the nodes that did so.",
			"Put the port, or the Service's namespace, back into a NodePortRange, or let the Service ask for another port.", portRanges},
		{NodePortTaken, "Another Service has the port, from a NodePortRange or as its nodePort or healthCheckNodePort; or another port of the same Service has it.", "Ask for another one, or for auto.", showService},
		{NodePortOutside, "No NodePortRange has the port that the Service asks for.", "Ask for one that a NodePortRange has, or add it to one.", portRanges},
		{NodePortNotAllowed, "The NodePortRange that has the port, or every one, does not admit the Service.", "Let its spec.services admit the Service's namespace and labels.", portRanges},
		{NodePortRangeInvalid, "The NodePortRange that has the port is bad: it keeps what it gave and gives nothing new.", "Correct what the Events of the NodePortRange name.", portRanges},
		{NodePortsExhausted, "Every port of the NodePortRanges that the Service may draw from is taken.", "Add ports to one, or delete Services that are not needed.", portRanges},
	}
}

func addresses() []Doc {
	return []Doc{
		{Assigned, "The Service has every address that it asks for.", nothing, ""},
		{PartlyAssigned, "The Service prefers both families, and the pool of its one address has none of the other family to give.",
			"Give the pool a range of the other family; the Service gets its second address then. If one family is enough, set ipFamilyPolicy to SingleStack.", pools},
		{Released, "The Service is no longer of type LoadBalancer or of another class, or is gone, so its address is free.", nothing, ""},
		{Moved, "The Service has another address than before, because it asks for another one or its pool does not have the old one any more.", "Tell those who use the old address, where they do not go by a name.", showService},
		{NoPool, "There is no pool, or every pool has autoAssign off or a serviceAllocation that does not admit the Service.",
			"Create an IPAddressPool, or name a pool in the Service's annotation metallb.io/address-pool, or let a pool's serviceAllocation admit it.", pools},
		{PoolExhausted, "Every address of the pools that the Service may draw from is in use, held back or excluded.",
			"Add a range to a pool, add a pool, or delete Services that are not needed. Services may share an address by the annotation metallb.io/allow-shared-ip.", "fairlead status"},
		{UnknownPool, "The annotation metallb.io/address-pool names a pool that does not exist.", "Correct the annotation, or create the pool.", pools},
		{PoolNotAllowed, "The serviceAllocation of the pool that the Service names, or that has the address it asks for, does not admit it.",
			"Ask for another pool, or let the pool's spec.serviceAllocation admit the Service's namespace and labels.", pools},
		{PoolInvalid, "The pool, or the AddressPolicy that it obeys, is bad: it keeps what it gave and gives nothing new.", "Correct what the Events of the object name.", pools},
		{FamilyUnavailable, "No pool that the Service may draw from has a range of a family that it needs.", "Add a range of that family to a pool, or change the Service's ipFamilies.", pools},
		{AddressNotInPool, "The address that the Service asks for is in no pool, or is one that its pool avoids (avoidBuggyIPs).", "Ask for an address that a pool has, or add it to a pool.", pools},
		{AddressInUse, "The address that the Service asks for is held by another Service with which it cannot share it.",
			"Ask for another address. To share it, both need the same metallb.io/allow-shared-ip, different ports, and both externalTrafficPolicy Cluster or the same pods.", explain},
		{InvalidRequest, "The Service's own fields or annotations contradict each other or do not parse.", "Correct what the message names.", showService},
		{Deleting, "The Service is being deleted and waits for a finalizer, so that it gets nothing new.", "Nothing; if it never goes, look who has to remove the finalizer.", showService},
		{AddressConflict, "Two Services showed the same address; the one that was assigned it earlier keeps it, and the other one lost it. Told once, on both.", "Nothing: it gets another address, if there is one. Tell those who use the old one.", explain},
		{Orphaned, "The Service's address is in no pool any more, and no other one is to be had; it keeps it for a time of grace (`--orphan-grace`).", "Put the address back into a pool, or give the Service another pool, before the time is over.", pools},
		{DeprecatedAnnotation, "An annotation of the Service has a former name (`metallb.universe.tf/`), by which it still counts.", "Rename it as the message says.", showService},
		{Cleared, "The Service's address was in no pool any more, no other one was to be had, and the time of grace is over. Told once; the condition says why there is no other one.", "Add a pool that the Service may draw from.", pools},
		{AddressExcluded, "The address that the Service asks for is excluded by the AddressPolicy that its pool obeys.", "Ask for another one, or take it out of the policy's spec.exclude.", policies},
		{AddressReserved, "The address that the Service asks for is held for another Service: by an AddressReservation, by an AddressClaim, or by the retain of an AddressPolicy.",
			"Ask for another one, or delete what holds it.", reservations},
		{AddressResting, "The address that the Service asks for was released a short time ago, and rests for the reuseDelay of an AddressPolicy.", "Wait, or ask for another one.", policies},
		{QuotaExceeded, "The Service's namespace has as many addresses as an AddressPolicy allows it.", "Delete Services of the namespace that are not needed, let some share an address, or raise the quota.", policies},
	}
}

func passedOver() []Doc {
	return []Doc{
		{NoAutoAssign, "The pool's spec.autoAssign is false: it gives addresses to Services only that name it or the address.", "Nothing, or name the pool in the annotation metallb.io/address-pool.", pools},
		{PoolNotRequested, "The Service asks for another pool, or for an address that another pool has.", "Nothing, or change the Service's annotation.", showService},
		{PoolPassedOver, "Another pool that admits the Service obeys an AddressPolicy that is exclusive, so that the Service may not fall through to this one.", "Nothing, or take exclusive out of that AddressPolicy.", policies},
		{PoolNotNeeded, "The pool has addresses to give, but the Service has what it needs from another one.", nothing, ""},
	}
}

func announcements() []Doc {
	return []Doc{
		{Announced, "This node announces the address.", "Nothing. If it is not reached all the same, look at the network between the client and the node.", ""},
		{NotOwner, "Another node announces the address.", nothing, ""},
		{NoAdvertisement, "No L2Advertisement and no BGPAdvertisement selects the address's pool and the Service.", "Create one, or let one name the pool in spec.ipAddressPools.", ads},
		{NoEndpoints, "No endpoint of the Service is ready or serving, so there is nobody to send traffic to.", "Look why no pod is ready, and whether the Service's selector matches any.", endpoints},
		{NoEligibleNode, "No node with a live speaker fulfils what the advertisements and the Service ask for.", "Look at the advertisements' nodeSelectors, at the nodes' labels and conditions, and, with externalTrafficPolicy Local, at where the pods run.", nodes},
		{NoInterface, "The nodes that may announce the address have no interface that is up and that the advertisements allow.", "Correct spec.interfaces of the L2Advertisement; the message names the interfaces that are there.", ads},
		{SharedElsewhere, "Another Service that shares the address decides which node announces it, and this one may not be announced from there.", "Give both the same advertisements, or do not share the address.", explain},
		{AddressUsedTwice, "Another host uses an address that the node announces. The message names its hardware address, and its node if it is another speaker of this cluster: then the two see different members, and one of them falls silent until that is over. A foreign host is reported and never fought.", "Take the address from the foreign host, or out of the pool.", "kubectl -n HOME get speakerstates -o yaml"},
		{NotProgrammed, "The address is to be served by IPVS, or has ipMode Proxy, and nothing in the node's kernel serves it.",
			"Look whether `fairlead ipvs` runs on the node, and what it says; or let advertisements select only nodes where it does.", programmers},
		{NoSpeaker, "No speaker is alive on the node, as far as is known.", "Look whether the speaker's pod runs there, and what it says.", speakers},
		{Candidate, "The node may announce the address, and takes over when those that come before it are lost.", nothing, ""},
		{NodeExcluded, "The node is labelled node.kubernetes.io/exclude-from-external-load-balancers, is tainted out-of-service, has no network, or is unknown.", "Remove the label or the taint if it is not meant for load balancers; see the speaker's flag `--ignore-exclude-lb`.", nodes},
		{NodeNotSelected, "No advertisement for the address selects the node.", "Nothing, if other nodes announce it; else correct spec.nodeSelectors of the advertisements.", ads},
		{NoLocalEndpoints, "externalTrafficPolicy is Local, and no endpoint on the node is serving.", "Nothing, if other nodes have endpoints; else look where the pods run.", endpoints},
		{NoPeer, "The node holds no BGP session that the advertisements allow and that carries the address's family.", "Look at spec.peers of the BGPAdvertisements and at spec.nodeSelectors of the BGPPeers.", peers},
		{AdvertisementWaits, "Every advertisement for the address is bad or waits for what it names.", "Correct what the Events of the advertisements name.", ads},
	}
}

func problems() []Doc {
	return []Doc{
		{InvalidAddresses, "A range does not parse, ends before it starts or mixes families, or there is none.", "Write a CIDR such as 192.0.2.0/24 or a range such as 192.0.2.10-192.0.2.20. What parses stays in force meanwhile.", object},
		{OverlappingAddresses, "A range overlaps another one, of the same pool or of an older pool, which owns the overlap.", "Remove the overlap from one of the two.", pools},
		{InvalidSelector, "A label selector does not parse.", "Correct its operator or its values.", object},
		{UnknownReference, "An object is named that does not exist.", "Create it, or correct the name. Until then the rest of the object is in force, as far as it can be.", object},
		{InvalidValue, "A value is out of its range, or two fields contradict each other.", "Correct what the message names. The last good value stays in force meanwhile.", object},
		{DuplicateName, "A name is given twice that may be given once.", "Remove one of the two.", object},
		{DuplicatePeer, "Two BGPPeers are for one neighbor on one node; the older one has the session.", "Remove one of the two, or keep their nodeSelectors apart.", peers},
		{ConflictingAdvertisements, "Two BGPAdvertisements give one route different values; the older one decides.", "Make the values the same, or let the two differ in pools, peers or nodes.", ads},
		{UnusableSecret, "The Secret that is named is not of the type or has not the key that is needed.", "Make it of type kubernetes.io/basic-auth with the key password.", peers},
		{InvalidPorts, "A port or a range of ports does not parse or ends before it starts, or there is none.", "Write a port from 1 to 65535, or a range such as 33000-33999. What parses stays in force meanwhile.", object},
		{OverlappingPorts, "A NodePortRange lists a port twice, or an older one has it, which keeps it.", "Remove the port from one of the two.", portRanges},
		{ReservedPorts, "A NodePortRange lists ports that the API server gives itself, or on which something of the cluster's own usually listens.", "Leave them out. For the second kind, spec.allowReserved allows them, if nothing listens there in this cluster. The controller's flag --service-node-port-range has to say what the API server's says.", portRanges},
		{OverlapsCluster, "A pool has addresses that the cluster itself uses: of nodes, of pods or of Services' cluster IPs.", "Take them out of the pool, unless you know better.", pools},
		{NoEffect, "A value is given that changes nothing.", "Remove it, or do as the message says.", object},
	}
}

func conditions() []Doc {
	return []Doc{
		{InForce, "At least one pool obeys the AddressPolicy, or Services may have ports of the NodePortRange.", nothing, ""},
		{Conflicting, "A pool that the AddressPolicy selects obeys another one, which has a higher priority or, if they are equal, comes first by name.", "Nothing, if that is meant; else change spec.priority or what the policies select.", policies},
		{NoConflict, "No pool that the AddressPolicy selects obeys another one.", nothing, ""},
		{Bound, "The address is held for those whom the AddressReservation is for.", nothing, ""},
	}
}

func configurations() []Doc {
	return []Doc{
		{Reconciled, "Nothing is wrong with the configuration, as the controller or the node's speaker reads it.", nothing, ""},
		{ConfigurationError, "Something is wrong with at least one object; what is good of the configuration is in force.", "Correct what the errorSummary names.", "kubectl -n HOME get configurationstates"},
	}
}

func sessions() []Doc {
	return []Doc{
		{SessionEstablished, "The node's BGP session with the neighbor is established.", nothing, ""},
		{SessionDown, "The node's BGP session with the neighbor has ended or cannot be established; the message says why.", "Compare addresses, AS numbers and password with the router's, and look whether TCP port 179 is let through. The SpeakerState of the node shows the session as it is now.", states},
		{NotCarriedOut, "Something that the node is to announce could not be done, as a socket that could not be opened; the rest is announced, and this is tried again.",
			"See the message, and the log of the speaker on that node.", speakers},
		{KernelAnswers, "kube-proxy runs in IPVS mode without strictARP, so the kernel of the node answers ARP requests for every load balancer's address, whoever announces it.",
			"Set strictARP in kube-proxy's configuration, or net.ipv4.conf.all.arp_ignore=1 on the node.", nodes},
		{TooMany, "There would be more objects of a kind than a flag allows, so there are none.", "Nothing, if you do not need them; else raise the flag that the message names.", ""},
	}
}

func manifests() []Doc {
	return []Doc{
		{InvalidManifest, "The text is no YAML, is no Kubernetes object, or is not what the kind's schema asks for.", "Correct what the message names.", ""},
		{UnknownField, "The kind has no such field; the API server would drop it without a word.", "Correct the name; the message says which one may be meant.", ""},
		{WrongNamespace, "The object is outside the namespace that Fairlead reads its configuration from.", "Create it there; `--namespace` tells lint which one that is.", ""},
		{NotCarriedOver, "The object belongs to MetalLB, and Fairlead does not read it.", "The message says what takes its place.", ""},
	}
}
