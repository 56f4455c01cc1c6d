//go:build linux && netns

package layer2

import (
	"bufio"
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTcpdumpReadsOurFrames: what a decoder that is not ours makes of every kind of frame that we send, checksums and flags
// included.
func TestTcpdumpReadsOurFrames(t *testing.T) {
	w := newWorld(t)
	w.config.RepeatFor = 1 // no repetition
	s := w.newSpeaker("")
	mac := s.link.HardwareAddr().String()
	arps, ndps := w.socket(familyARP), w.socket(familyNDP)
	done := w.tcpdump(9, "ether src "+mac+" and (arp or (icmp6 and ip6[40] == 136))")

	s.apply(vip4)
	s.apply(vip4, vip6)
	unicast := patch(arpRequest(host4, vip4), 0, s.link.MAC[:]...)
	for i, question := range [][]byte{
		arpRequest(host4, vip4), unicast, patch(arpRequest(host4, vip4), 28, 0, 0, 0, 0),
		resolution(vip6), nsFrame(s.link.MAC, host6, vip6, vip6, &hostMAC), probe(vip6),
	} {
		to := arps
		if i >= 3 {
			to = ndps
		}
		sendAll(t, to, question)
		time.Sleep(20 * time.Millisecond) // so that they are answered in this order
	}

	const host, all = " > 02:00:00:00:00:99, ", " > 33:33:00:00:00:01, "
	arp := ", ethertype ARP (0x0806), length 60: Ethernet (len 6), IPv4 (len 4), "
	na := "ethertype IPv6 (0x86dd), length 86: (hlim 255, next-header ICMPv6 (58) payload length: 32) fd00:25::12:3456 > "
	ok := ": [icmp6 sum ok] ICMP6, neighbor advertisement, length 32, tgt is fd00:25::12:3456, Flags "
	option := " destination link-address option (2), length 8 (1): " + mac
	want := []string{
		mac + " > ff:ff:ff:ff:ff:ff" + arp + "Request who-has 172.25.254.50 tell 172.25.254.50, length 46",
		mac + " > ff:ff:ff:ff:ff:ff" + arp + "Reply 172.25.254.50 is-at " + mac + ", length 46",
		mac + all + na + "ff02::1" + ok + "[override]" + option,
		mac + " > 02:00:00:00:00:99" + arp + "Reply 172.25.254.50 is-at " + mac + ", length 46",
		mac + " > 02:00:00:00:00:99" + arp + "Reply 172.25.254.50 is-at " + mac + ", length 46",
		mac + " > 02:00:00:00:00:99" + arp + "Reply 172.25.254.50 is-at " + mac + ", length 46",
		mac + host + na + "fe80::99" + ok + "[solicited, override]" + option,
		mac + host + na + "fe80::99" + ok + "[solicited, override]" + option,
		mac + all + na + "ff02::1" + ok + "[override]" + option,
	}
	got := done()
	if len(got) != len(want) {
		t.Fatalf("tcpdump shows %d frames, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("frame %d is\n%s, want\n%s", i, got[i], want[i])
		}
	}
}

// tcpdump captures the first n frames on the client's interface that match; what it returns waits for them and returns
// what tcpdump says of each, in one line and without the bytes.
func (w *world) tcpdump(n int, match string) func() []string {
	w.t.Helper()
	c := exec.Command("nsenter", "--net="+w.client.Path(), "timeout", "30", "tcpdump", "-l", "-t", "-nn", "-e", "-vvv", "-i", "lan", "-c", strconv.Itoa(n), match)
	var out bytes.Buffer
	c.Stdout = &out
	says, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	lines := bufio.NewScanner(says)
	for lines.Scan() && !strings.Contains(lines.Text(), "listening on") {
	}
	return func() (frames []string) {
		for lines.Scan() { // until it ends
		}
		if err := c.Wait(); err != nil {
			w.t.Errorf("tcpdump: %v", err)
		}
		for line := range strings.Lines(out.String()) {
			switch text := strings.TrimSpace(line); {
			case strings.HasPrefix(text, "0x"):
			case strings.HasPrefix(line, "\t"):
				frames[len(frames)-1] += " " + text
			default:
				frames = append(frames, text)
			}
		}
		return frames
	}
}
