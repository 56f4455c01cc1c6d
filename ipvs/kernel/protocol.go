package kernel

import (
	corev1 "k8s.io/api/core/v1"
)

// number is the protocol's number (IANA, "Protocol Numbers").
func number(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return 17
	case corev1.ProtocolSCTP:
		return 132
	}
	return 6
}

// protocol is the reverse of number.
func protocol(n uint8) corev1.Protocol {
	switch n {
	case 17:
		return corev1.ProtocolUDP
	case 132:
		return corev1.ProtocolSCTP
	}
	return corev1.ProtocolTCP
}
