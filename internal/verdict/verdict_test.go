package verdict

import "testing"

func TestWarns(t *testing.T) {
	for reason, want := range map[Reason]bool{UnknownReference: true, NoEffect: true, OverlapsCluster: true, InvalidValue: false, UnusableSecret: false, ConflictingAdvertisements: false, DuplicatePeer: false} {
		if reason.Warns() != want {
			t.Errorf("%s only warns: %v", reason, !want)
		}
	}
}

func TestString(t *testing.T) {
	if got := (Verdict{NoPeer, "there is no BGPPeer"}).String(); got != "there is no BGPPeer (NoPeer)" {
		t.Error(got)
	}
}
