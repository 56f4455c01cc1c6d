//go:build linux

package bgp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Message types (RFC 4271, section 4.1; RFC 2918).
const (
	typeOpen         = 1
	typeUpdate       = 2
	typeNotification = 3
	typeKeepalive    = 4
	typeRefresh      = 5
)

const (
	headerLength  = 19
	maxLength     = 4096 // of a message: extended messages (RFC 8654) are not negotiated
	refreshLength = headerLength + 4
	minHoldTime   = 3 * time.Second // but for 0 (RFC 4271, section 4.2)
)

// Error codes and subcodes (RFC 4271, section 4.5; RFC 4486; RFC 9384).
const (
	headerError        = 1
	openError          = 2
	holdTimerExpired   = 4
	cease              = 6
	badSynchronization = 1
	badMessageLength   = 2
	badMessageType     = 3
	badPeerAS          = 2
	unsupportedFamily  = 7
	ceaseShutdown      = 2
	ceaseDeconfigured  = 3
	ceaseReset         = 4
	ceaseConfiguration = 6
	ceaseBFDDown       = 10
)

// message is a whole BGP message as it stands on the wire; its header is valid.
type message []byte

func (m message) kind() byte   { return m[headerLength-1] }
func (m message) body() []byte { return m[headerLength:] }

// violation is an error of the neighbor that a NOTIFICATION answers.
type violation struct {
	code, subcode byte
	data          []byte
	why           string
}

func (v *violation) Error() string { return v.why }

// readMessage reads one message into buf, which has maxLength bytes. The message is a part of buf.
func readMessage(r io.Reader, buf []byte) (message, error) {
	if _, err := io.ReadFull(r, buf[:headerLength]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf[16:]))
	if err := checkHeader(buf[:headerLength], n); err != nil {
		return nil, err
	}
	_, err := io.ReadFull(r, buf[headerLength:n])
	return message(buf[:n]), err
}

// checkHeader follows RFC 4271, section 6.1.
func checkHeader(h []byte, length int) error {
	if !bytes.Equal(h[:16], marker()) {
		return &violation{headerError, badSynchronization, nil, "the peer sent a message without the BGP marker"}
	}
	least, exact := headerLength, false
	switch h[18] {
	case typeOpen:
		least = headerLength + 10
	case typeUpdate:
		least = headerLength + 4
	case typeNotification:
		least = headerLength + 2
	case typeKeepalive:
		exact = true
	case typeRefresh:
		least = refreshLength
	default:
		return &violation{headerError, badMessageType, []byte{h[18]}, fmt.Sprintf("the peer sent a message of unknown type %d", h[18])}
	}
	if length < least || length > maxLength || exact && length != least {
		return &violation{headerError, badMessageLength, bytes.Clone(h[16:18]), fmt.Sprintf("the peer sent a message of type %d with %d bytes", h[18], length)}
	}
	return nil
}

func marker() []byte { return bytes.Repeat([]byte{0xff}, 16) }

func newMessage(kind byte, body ...byte) message {
	m := binary.BigEndian.AppendUint16(marker(), uint16(headerLength+len(body)))
	return append(append(m, kind), body...)
}

// newNotification makes a NOTIFICATION. The text of a Cease for shutdown or reset is its communication (RFC 9003).
func newNotification(code, subcode byte, data []byte) message {
	return newMessage(typeNotification, append([]byte{code, subcode}, data...)...)
}

// communication encodes the text of a Cease (RFC 9003), as far as it fits.
func communication(text string) []byte {
	if len(text) > 255 {
		text = text[:255]
	}
	return append([]byte{byte(len(text))}, text...)
}

// holdTimeOffset is where an OPEN has its hold time.
const holdTimeOffset = headerLength + 3
