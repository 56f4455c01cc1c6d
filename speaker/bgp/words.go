//go:build linux

package bgp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// describeDial says why no connection could be opened.
func describeDial(t target, err error) string {
	to := t.String()
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("%s refuses TCP connections: nothing listens there, or not for this node", to)
	case errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("there is no route to %s", to)
	case errors.Is(err, syscall.EHOSTUNREACH):
		if t.ttl == 1 {
			return fmt.Sprintf("%s cannot be reached: without eBGP multihop it has to be on the link", to)
		}
		return fmt.Sprintf("%s cannot be reached: nothing answers on the link, or a router says so", to)
	case errors.Is(err, syscall.ENODEV):
		return fmt.Sprintf("there is no interface %s", t.device)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && t.source.IsValid():
		return fmt.Sprintf("the source address %s is not an address of this node", t.source)
	case errors.As(err, &timeout) && timeout.Timeout() && t.password != "":
		return fmt.Sprintf("%s does not answer; a wrong password looks the same", to)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("%s does not answer; a peer that wants a password looks the same", to)
	default:
		return fmt.Sprintf("connecting to %s: %v", to, unwrapped(err))
	}
}

// unwrapped leaves out the addresses that package net puts before an error.
func unwrapped(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// describeLoss says why a connection ended; timeout is what a timeout means.
func describeLoss(err error, timeout string) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the peer closed the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the peer reset the connection"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return timeout
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return "this end closed the connection"
	default:
		return fmt.Sprintf("the connection broke: %v", unwrapped(err))
	}
}

// describeSent explains a NOTIFICATION of the engine.
func describeSent(m message, hold time.Duration) string {
	if m.body()[0] == holdTimerExpired {
		return fmt.Sprintf("hold timer expired: nothing was heard from the peer for %v", hold)
	}
	return "this end ended the session: " + describeNotification(m.body())
}

// describeReceived explains a NOTIFICATION of the neighbor.
func describeReceived(m message) string {
	b := m.body()
	switch {
	case b[0] == openError && b[1] == badPeerAS:
		return "the peer refuses this end's AS number (Bad Peer AS)"
	case b[0] == holdTimerExpired:
		return "the peer's hold timer expired: it did not hear this end"
	}
	return "the peer ended the session: " + describeNotification(b)
}

// describeNotification names code and subcode, with the text that came with them (RFC 9003) or the data.
func describeNotification(b []byte) string {
	code, subcode, data := b[0], b[1], b[2:]
	text := notificationName(code, subcode)
	if code == cease && (subcode == ceaseShutdown || subcode == ceaseReset) && len(data) > 0 && int(data[0]) <= len(data)-1 {
		return text + quoted(data[1:1+data[0]])
	}
	if len(data) > 0 && code != cease {
		text += ", data " + hex.EncodeToString(data[:min(len(data), 32)])
	}
	return text
}

// quoted makes text from outside fit for a log line.
func quoted(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return ""
	}
	if !utf8.Valid(b) {
		return ", data " + hex.EncodeToString(b)
	}
	return fmt.Sprintf(": %q", b)
}

func notificationName(code, subcode byte) string {
	name, subs := "", ""
	switch code {
	case headerError:
		name, subs = "Message Header Error", "|Connection Not Synchronized|Bad Message Length|Bad Message Type"
	case openError:
		name, subs = "OPEN Message Error", "|Unsupported Version Number|Bad Peer AS|Bad BGP Identifier|Unsupported Optional Parameter||Unacceptable Hold Time|Unsupported Capability"
	case 3:
		name, subs = "UPDATE Message Error", "|Malformed Attribute List|Unrecognized Well-known Attribute|Missing Well-known Attribute|Attribute Flags Error|Attribute Length Error|Invalid ORIGIN Attribute||Invalid NEXT_HOP Attribute|Optional Attribute Error|Invalid Network Field|Malformed AS_PATH"
	case holdTimerExpired:
		return "Hold Timer Expired"
	case 5:
		name, subs = "Finite State Machine Error", "|Unexpected Message in OpenSent|Unexpected Message in OpenConfirm|Unexpected Message in Established"
	case cease:
		name, subs = "Cease", "|Maximum Number of Prefixes Reached|Administrative Shutdown|Peer De-configured|Administrative Reset|Connection Rejected|Other Configuration Change|Connection Collision Resolution|Out of Resources|Hard Reset|BFD Down"
	default:
		return fmt.Sprintf("NOTIFICATION %d/%d", code, subcode)
	}
	if list := strings.Split(subs, "|"); int(subcode) < len(list) && list[subcode] != "" {
		return name + ", " + list[subcode]
	}
	return fmt.Sprintf("%s, subcode %d", name, subcode)
}

// listed joins words: "a, b and c".
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
