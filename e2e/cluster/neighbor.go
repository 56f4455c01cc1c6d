package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// neighborTimeout is how long a kernel asks for a neighbor: three requests, one second apart, and a little.
const neighborTimeout = 3500 * time.Millisecond

// KnownNeighbor is the MAC address that the host's kernel has for an address of its segment at this moment. It sends
// nothing.
func (h *Host) KnownNeighbor(ctx context.Context, addr netip.Addr) (net.HardwareAddr, error) {
	out, err := h.Run(ctx, "ip", "-json", "neigh", "show", "to", addr.String(), "dev", "eth0")
	if err != nil {
		return nil, err
	}
	var entries []struct {
		MAC   string   `json:"lladdr"`
		State []string `json:"state"`
	}
	if err := json.Unmarshal([]byte(out), &entries); err != nil {
		return nil, fmt.Errorf("%s: neighbors of %s: %w in %q", h.Name, addr, err, out)
	}
	if len(entries) == 0 || entries[0].MAC == "" || slices.Contains(entries[0].State, "FAILED") {
		return nil, fmt.Errorf("%s knows no neighbor %s", h.Name, addr)
	}
	return net.ParseMAC(entries[0].MAC)
}

// Neighbor makes the host's kernel forget what it knows of an address of its segment and resolve it anew, and returns
// the MAC address that it then has. Its errors include that nobody answers.
func (h *Host) Neighbor(ctx context.Context, addr netip.Addr) (net.HardwareAddr, error) {
	if err := ip(ctx, h.Namespace, fmt.Sprintf("neigh flush to %s dev eth0", addr)); err != nil {
		return nil, err
	}
	conn, err := h.Dial(ctx, "udp", netip.AddrPortFrom(addr, 9).String()) // port 9 is discard
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{0}); err != nil {
		return nil, fmt.Errorf("%s sending to %s: %w", h.Name, addr, err)
	}
	var mac net.HardwareAddr
	err = Eventually(ctx, neighborTimeout, func() (err error) {
		mac, err = h.KnownNeighbor(ctx, addr)
		return err
	})
	return mac, err
}

// WhoHas asks the segment once for an address, by ARP or by neighbor solicitation, listens for that long, and returns
// the MAC addresses of all who answered, sorted. That nobody answers is no error. It shares no code with the product:
// the ARP packet is written here, the neighbor solicitation is ndisc6's.
func (h *Host) WhoHas(ctx context.Context, addr netip.Addr, wait time.Duration) ([]net.HardwareAddr, error) {
	ask := h.whoHasARP
	if addr.Is6() {
		ask = h.whoHasNDP
	}
	macs, err := ask(ctx, addr, wait)
	if err != nil {
		return nil, fmt.Errorf("%s asking who has %s: %w", h.Name, addr, err)
	}
	slices.SortFunc(macs, func(a, b net.HardwareAddr) int { return slices.Compare(a, b) })
	return slices.CompactFunc(macs, func(a, b net.HardwareAddr) bool { return slices.Equal(a, b) }), nil
}

func (h *Host) whoHasARP(ctx context.Context, addr netip.Addr, wait time.Duration) ([]net.HardwareAddr, error) {
	conn, err := h.listenARP()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline := time.Now().Add(wait)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := h.askARP(conn, addr); err != nil {
		return nil, err
	}
	claims, err := hear(conn, addr, deadline, deadline)
	if err != nil {
		return nil, err
	}
	var macs []net.HardwareAddr
	for _, c := range claims {
		if c.answers() {
			macs = append(macs, c.MAC)
		}
	}
	return macs, ctx.Err()
}

// listenARP opens a socket that gets the ARP packets of the host's segment, without their Ethernet headers.
func (h *Host) listenARP() (conn *packet.Conn, err error) {
	err = h.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(eth0, packet.Datagram, unix.ETH_P_ARP, nil)
		return err
	})
	return conn, err
}

// askARP asks the whole segment who has an address.
func (h *Host) askARP(conn *packet.Conn, addr netip.Addr) error {
	broadcast := &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	_, err := conn.WriteTo(arpRequest(h.MAC, h.IPv4, addr), broadcast)
	return err
}

const (
	arpLength  = 28 // of an ARP packet for Ethernet and IPv4, RFC 826
	opRequest  = 1
	opReply    = 2
	arpEther   = 1
	lengthIPv4 = 4
	lengthMAC  = 6
)

func arpRequest(from net.HardwareAddr, fromIP, target netip.Addr) []byte {
	p := binary.BigEndian.AppendUint16(nil, arpEther)
	p = binary.BigEndian.AppendUint16(p, unix.ETH_P_IP)
	p = append(p, lengthMAC, lengthIPv4, 0, opRequest)
	p = append(append(p, from...), fromIP.AsSlice()...)
	return append(append(p, make([]byte, lengthMAC)...), target.AsSlice()...)
}

var advertised = regexp.MustCompile(`(?m)^Target link-layer address: ([0-9A-Fa-f:]+)`)

func (h *Host) whoHasNDP(ctx context.Context, addr netip.Addr, wait time.Duration) ([]net.HardwareAddr, error) {
	// -m: listen to the end; exit status 2 is that nobody answered.
	cmd := h.Command(ctx, "ndisc6", "-m", "-r", "1", "-w", strconv.FormatInt(wait.Milliseconds(), 10), addr.String(), "eth0")
	out, err := output(ctx, cmd, "ndisc6")
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 0 && cmd.ProcessState.ExitCode() != 2 {
		return nil, err
	}
	var macs []net.HardwareAddr
	for _, match := range advertised.FindAllStringSubmatch(out, -1) {
		mac, err := net.ParseMAC(match[1])
		if err != nil {
			return nil, err
		}
		macs = append(macs, mac)
	}
	return macs, nil
}
