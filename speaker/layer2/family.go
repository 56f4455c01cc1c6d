//go:build linux

package layer2

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// family is one of the two protocols that resolve addresses on a link. Its methods are all that differs between them.
type family uint8

const (
	familyARP family = iota // IPv4
	familyNDP               // IPv6
)

// familyOf returns the family that announces a.
func familyOf(a netip.Addr) family {
	if a.Is4() {
		return familyARP
	}
	return familyNDP
}

// String returns the label that metrics and logs show.
func (f family) String() string {
	if f == familyARP {
		return "arp"
	}
	return "ndp"
}

// etherType is the protocol that the family's socket is bound to.
func (f family) etherType() ethernet.EtherType {
	if f == familyARP {
		return ethernet.EtherTypeARP
	}
	return ethernet.EtherTypeIPv6
}

// answer decides on one received frame.
func (f family) answer(frame []byte, mac macAddr, ours targets) decision {
	if f == familyARP {
		return answerARP(frame, mac, ours)
	}
	return answerNDP(frame, mac, ours)
}

// gratuitous returns the frames that announce address at mac without being asked.
func (f family) gratuitous(address netip.Addr, mac macAddr) [][]byte {
	if f == familyARP {
		return gratuitousARP(address, mac)
	}
	return gratuitousNDP(address, mac)
}

// probe returns the frame that asks the segment who has address, without saying that it is here.
func (f family) probe(address netip.Addr, mac macAddr) []byte {
	if f == familyARP {
		return probeARP(address, mac)
	}
	return probeNDP(address, mac)
}

// filter returns the program that passes what concerns our addresses and asks for watched ones, in at most size
// instructions.
func (f family) filter(ours, watched []netip.Addr, size int) []bpf.Instruction {
	if f == familyARP {
		return filterARP(ours, watched, size)
	}
	return filterNDP(ours, watched, size)
}

// attach assembles the filter and gives it to set. The kernel charges the old and the new program to
// net.core.optmem_max (20 KB before Linux 6.9), so where a large one does not fit, a coarser one is tried.
func (f family) attach(ours, watched []netip.Addr, set func([]bpf.RawInstruction) error) error {
	var err error
	for size := maxProgram; size >= maxProgram/16; size /= 4 {
		program, asmErr := bpf.Assemble(f.filter(ours, watched, size))
		if asmErr != nil {
			return fmt.Errorf("assembling the filter: %w", asmErr)
		}
		if err = set(program); !errors.Is(err, unix.ENOMEM) {
			return err
		}
	}
	return err
}

// checkAddress says why a cannot be announced.
func checkAddress(a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || isIPv4Broadcast(a) {
		return errAddress
	}
	return nil
}

// errAddress refuses an address that no host can have.
var errAddress = errors.New("not a unicast address that can be announced")
