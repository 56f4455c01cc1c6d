package lint

// This file holds what of a MetalLB installation is not carried over, and what is to be done instead.

import (
	"strings"
)

// foreign says what becomes of an object that belongs to MetalLB and that Fairlead does not read, or "".
func foreign(d *document) string {
	switch {
	case d.group == "frrk8s.metallb.io":
		return "Fairlead does not run FRR and reads no FRR-K8s objects: what a session is to carry goes into BGPPeers and BGPAdvertisements, raw FRR configuration has no counterpart"
	case d.group == "metallb.io" && d.kind == "MetalLB":
		return "this is for MetalLB's operator: Fairlead is installed by its chart or its kustomizations, and what stands here is set there by flags"
	case d.group == "metallb.io" && d.kind == "AddressPool":
		return "MetalLB has removed this kind: write an IPAddressPool, and an L2Advertisement or a BGPAdvertisement that names it"
	case d.isKind("", "v1", "ConfigMap"):
		return foreignConfigMap(d)
	}
	return ""
}

func foreignConfigMap(d *document) string {
	switch {
	case d.name == "bgpextras":
		return "Fairlead does not run FRR, so that this raw FRR configuration has no counterpart: what a session is to carry goes into BGPPeers and BGPAdvertisements"
	case d.name == "metallb-excludel2":
		return "Fairlead takes these expressions from the speaker's flag --exclude-interfaces, which has the same ones by default"
	case d.name == "metallb-memberlist-config":
		return "Fairlead's speakers watch each other with settings of their own, which need no file"
	case d.name == "metallb-frr-startup" || d.name == "frr-startup":
		return "Fairlead does not run FRR, so that its daemons need no configuration"
	case d.name == "config" && strings.Contains(string(d.json), "address-pools"):
		return "MetalLB before 0.13 was configured like this: write an IPAddressPool for each pool, an L2Advertisement or a BGPAdvertisement for its protocol, and a BGPPeer for each peer"
	}
	return ""
}
