package controllers

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cespare/xxhash/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
	"github.com/fairlead-lb/fairlead/speaker/layer2"
)

// maxProblemMessage is how long a problem's message may be in a SpeakerState, in bytes.
const maxProblemMessage = 512

// stateOfSpeaker words what came of a plan as a status; kernel says where the kernel answers in the speaker's place. What belongs to BGP is added by others.
func stateOfSpeaker(r speaker.Report, conflicts []layer2.Conflict, kernel []string) v1alpha1.SpeakerStateStatus {
	s := v1alpha1.SpeakerStateStatus{
		StartedAt: metav1.Time{Time: r.Local.Facts.Started.Truncate(time.Second)},
		Settled:   r.Local.Facts.Settled,
	}
	for i := range r.Local.Links {
		l := &r.Local.Links[i]
		x := v1alpha1.SpeakerLink{Name: l.Name, Up: true, Unsettled: l.Unsettled, MAC: l.HardwareAddr().String()}
		for _, p := range l.Published().Subnets {
			x.Subnets = append(x.Subnets, p.String())
		}
		s.Links = append(s.Links, x)
	}
	digest := xxhash.New()
	var last netip.Addr
	for _, x := range r.Local.Announced { // sorted; one address may be there for several links
		if x.Address == last {
			continue
		}
		last = x.Address
		text := x.Address.String()
		_, _ = digest.WriteString(text + "\n")
		if s.Counts.Addresses++; s.Counts.Addresses <= v1alpha1.MaxSpeakerAddresses {
			s.Layer2.Addresses = append(s.Layer2.Addresses, text)
		}
	}
	s.Layer2.Truncated = s.Counts.Addresses > v1alpha1.MaxSpeakerAddresses
	if s.Counts.Addresses > 0 {
		s.Layer2.Digest = fmt.Sprintf("%016x", digest.Sum64())
	}
	for _, c := range conflicts {
		s.Layer2.Conflicts = append(s.Layer2.Conflicts, v1alpha1.SpeakerConflict{
			Address: c.Address.String(), Link: c.Link.Name, MAC: c.HardwareAddr().String(), Node: c.Node, Silent: c.Silent,
			Since: metav1.Time{Time: c.Since.Truncate(time.Second)},
		})
	}
	s.Counts.Conflicts = int32(len(conflicts))
	for _, p := range r.Plan.Problems {
		s.Problems = append(s.Problems, v1alpha1.SpeakerProblem{
			Kind: p.Object.Kind, Name: p.Object.Name, Reason: string(p.Reason), Message: cut(p.Message, maxProblemMessage),
		})
	}
	if r.Failed != nil {
		s.Problems = append(s.Problems, v1alpha1.SpeakerProblem{Reason: string(verdict.NotCarriedOut), Message: cut(r.Failed.Error(), maxProblemMessage)})
	}
	for _, message := range kernel {
		s.Problems = append(s.Problems, v1alpha1.SpeakerProblem{Reason: string(verdict.KernelAnswers), Message: cut(message, maxProblemMessage)})
	}
	s.Counts.Problems = int32(len(s.Problems))
	return s
}

// parseMAC reads a hardware address of Ethernet.
func parseMAC(text string) (mac [6]byte, ok bool) {
	b, err := net.ParseMAC(text)
	if err != nil || len(b) != len(mac) {
		return mac, false
	}
	return [6]byte(b), true
}
