//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// Of linux/sock_diag.h and linux/inet_diag.h.
const (
	sockDiagByFamily = 20
	requestSize      = 56 // struct inet_diag_req_v2
	messageSize      = 72 // struct inet_diag_msg
	portOffset       = 4  // of the local port in the message, in network order
	addressOffset    = 8  // of the local address
	stateClose       = 7  // of a UDP socket that is not connected
	stateListen      = 10
)

// listeners returns the ports on which processes listen: by TCP, or by UDP from anybody. A kernel without inet_diag knows
// of none.
func listeners(c *netlink.Conn) (out []plan.Ports, err error) {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		for protocol, state := range map[corev1.Protocol]uint32{corev1.ProtocolTCP: stateListen, corev1.ProtocolUDP: stateClose} {
			request := make([]byte, requestSize)
			request[0], request[1] = family, number(protocol)
			binary.NativeEndian.PutUint32(request[4:], 1<<state)
			replies, err := c.Execute(netlink.Message{
				Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump}, Data: request,
			})
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("listing the sockets that listen: %w", err)
			}
			for _, m := range replies {
				if len(m.Data) < messageSize {
					continue
				}
				port, size := binary.BigEndian.Uint16(m.Data[portOffset:]), 4
				if family == unix.AF_INET6 {
					size = 16
				}
				a, _ := netip.AddrFromSlice(m.Data[addressOffset : addressOffset+size])
				out = append(out, plan.Ports{Address: a.Unmap(), Range: portrange.Port(protocol, port)})
			}
		}
	}
	slices.SortFunc(out, plan.Ports.Compare)
	return slices.Compact(out), nil
}
