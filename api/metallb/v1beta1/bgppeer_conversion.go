package v1beta1

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
)

// AnnotationBGPPeerRest on a BGPPeer of version v1beta1 holds, as JSON, what version v1beta2 has beyond it, so that an
// object that is read as v1beta1 and written back loses nothing.
const AnnotationBGPPeerRest = "fairlead.io/bgppeer-v1beta2"

// rest are the fields of v1beta2 that v1beta1 lacks.
type rest struct {
	DynamicASN             v1beta2.DynamicASN      `json:"dynamicASN,omitempty"`
	LocalASN               uint32                  `json:"localASN,omitempty"`
	Interface              string                  `json:"interface,omitempty"`
	ConnectTime            *metav1.Duration        `json:"connectTime,omitempty"`
	PasswordSecret         corev1.SecretReference  `json:"passwordSecret,omitzero"`
	EnableGracefulRestart  bool                    `json:"enableGracefulRestart,omitempty"`
	VRFName                string                  `json:"vrf,omitempty"`
	DisableMP              bool                    `json:"disableMP,omitempty"`
	DualStackAddressFamily bool                    `json:"dualStackAddressFamily,omitempty"`
	NodeSelectors          *[]metav1.LabelSelector `json:"nodeSelectors,omitempty"` // nil where v1beta1 can hold them
}

// ToV1beta2 makes out the same peer in version v1beta2, apart from kind and version. An annotation that does not parse
// counts as absent: one object must not keep all others from being listed.
func (p *BGPPeer) ToV1beta2(out *v1beta2.BGPPeer) {
	var r rest
	if json.Unmarshal([]byte(p.Annotations[AnnotationBGPPeerRest]), &r) != nil {
		r = rest{}
	}
	out.ObjectMeta = withoutRest(p.ObjectMeta)
	in := p.Spec.DeepCopy()
	out.Spec = v1beta2.BGPPeerSpec{
		MyASN: in.MyASN, PeerASN: in.PeerASN, PeerAddress: in.PeerAddress, SourceAddress: in.SourceAddress, PeerPort: in.PeerPort,
		HoldTime: in.HoldTime, KeepaliveTime: in.KeepaliveTime, RouterID: in.RouterID, NodeSelectors: labelSelectors(in.NodeSelectors),
		Password: in.Password, BFDProfile: in.BFDProfile, EBGPMultiHop: in.EBGPMultiHop,

		DynamicASN: r.DynamicASN, LocalASN: r.LocalASN, Interface: r.Interface, ConnectTime: r.ConnectTime, PasswordSecret: r.PasswordSecret,
		EnableGracefulRestart: r.EnableGracefulRestart, VRFName: r.VRFName, DisableMP: r.DisableMP, DualStackAddressFamily: r.DualStackAddressFamily,
	}
	// Who changes the selectors in version v1beta1 means what is written there.
	if r.NodeSelectors != nil && equality.Semantic.DeepEqual(nodeSelectors(*r.NodeSelectors), in.NodeSelectors) {
		out.Spec.NodeSelectors = *r.NodeSelectors
	}
}

// FromV1beta2 makes this the same peer as in, apart from kind and version. The requirements Exists and DoesNotExist on a
// label, which v1beta1 does not have, are in the annotation only.
func (p *BGPPeer) FromV1beta2(in *v1beta2.BGPPeer) error {
	spec := in.Spec.DeepCopy()
	r := rest{
		DynamicASN: spec.DynamicASN, LocalASN: spec.LocalASN, Interface: spec.Interface, ConnectTime: spec.ConnectTime, PasswordSecret: spec.PasswordSecret,
		EnableGracefulRestart: spec.EnableGracefulRestart, VRFName: spec.VRFName, DisableMP: spec.DisableMP, DualStackAddressFamily: spec.DualStackAddressFamily,
	}
	selectors := nodeSelectors(spec.NodeSelectors)
	if !equality.Semantic.DeepEqual(labelSelectors(selectors), spec.NodeSelectors) {
		r.NodeSelectors = &spec.NodeSelectors
	}
	p.ObjectMeta = withoutRest(in.ObjectMeta)
	if r != (rest{}) {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("keeping what version v1beta1 of BGPPeer %q lacks: %w", in.Name, err)
		}
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[AnnotationBGPPeerRest] = string(text)
	}
	p.Spec = BGPPeerSpec{
		MyASN: spec.MyASN, PeerASN: spec.PeerASN, PeerAddress: spec.PeerAddress, SourceAddress: spec.SourceAddress, PeerPort: spec.PeerPort,
		HoldTime: spec.HoldTime, KeepaliveTime: spec.KeepaliveTime, RouterID: spec.RouterID, NodeSelectors: selectors,
		Password: spec.Password, BFDProfile: spec.BFDProfile, EBGPMultiHop: spec.EBGPMultiHop,
	}
	return nil
}

// withoutRest returns a copy of an object's metadata without the annotation.
func withoutRest(in metav1.ObjectMeta) metav1.ObjectMeta {
	out := *in.DeepCopy()
	maps.DeleteFunc(out.Annotations, func(name, _ string) bool { return name == AnnotationBGPPeerRest })
	if len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	return out
}

func labelSelectors(in []NodeSelector) []metav1.LabelSelector {
	var out []metav1.LabelSelector
	for _, s := range in {
		l := metav1.LabelSelector{MatchLabels: s.MatchLabels}
		for _, e := range s.MatchExpressions {
			l.MatchExpressions = append(l.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: e.Key, Operator: metav1.LabelSelectorOperator(e.Operator), Values: e.Values,
			})
		}
		out = append(out, l)
	}
	return out
}

// nodeSelectors leaves out the requirements without values: they are not valid in v1beta1.
func nodeSelectors(in []metav1.LabelSelector) []NodeSelector {
	var out []NodeSelector
	for _, l := range in {
		s := NodeSelector{MatchLabels: l.MatchLabels}
		for _, e := range l.MatchExpressions {
			if len(e.Values) > 0 {
				s.MatchExpressions = append(s.MatchExpressions, MatchExpression{Key: e.Key, Operator: string(e.Operator), Values: slices.Clone(e.Values)})
			}
		}
		out = append(out, s)
	}
	return out
}
