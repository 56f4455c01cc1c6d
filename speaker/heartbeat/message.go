package heartbeat

// A message is: a version, 1 if the node is missed and 0 if it is heard again, the length of the sender's name, the
// sender's name, the node's name.
const messageVersion = 1

// encode renders a word of the sender.
func encode(from string, w word) []byte {
	b := []byte{messageVersion, 0, byte(len(from))}
	if w.misses {
		b[1] = 1
	}
	return append(append(b, from...), w.of...)
}

// decode reads a message. One of another version, or that is cut short, is none. Names of nodes have at most 253 bytes.
func decode(b []byte) (from, of string, misses, ok bool) {
	if len(b) < 3 || b[0] != messageVersion || b[1] > 1 || len(b) <= 3+int(b[2]) || len(b) > 3+2*253 || b[2] == 0 {
		return "", "", false, false
	}
	name := 3 + int(b[2])
	return string(b[3:name]), string(b[name:]), b[1] == 1, true
}
