//go:build linux && netns

package layer2

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
)

// startedSpeaker is a process that runs a childSpeaker.
type startedSpeaker struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startSpeaker(t *testing.T, ns *netnstest.NS, c childSpeaker) *startedSpeaker {
	s := &startedSpeaker{t: t, cmd: newChild(t, ns, "speaker", c)}
	var err error
	s.in, err = s.cmd.StdinPipe()
	must(t, err)
	out, err := s.cmd.StdoutPipe()
	must(t, err)
	s.lines = bufio.NewScanner(out)
	must(t, s.cmd.Start())
	t.Cleanup(func() {
		s.signal(syscall.SIGKILL)
		_ = s.cmd.Wait() // says that it was killed
	})
	s.expect("ready")
	return s
}

func (s *startedSpeaker) signal(sig syscall.Signal) { _ = s.cmd.Process.Signal(sig) }

func (s *startedSpeaker) expect(line string) {
	s.t.Helper()
	if !s.lines.Scan() || s.lines.Text() != line {
		s.t.Fatalf("the speaker says %q, want %q", s.lines.Text(), line)
	}
}

func TestAStoppedSpeakerDropsWhatItsSocketsQueued(t *testing.T) {
	const pause = 300 * time.Millisecond
	w := newWorld(t)
	ns := netnstest.New(t)
	netnstest.Veth(t, ns, "eth0", w.client, "port0")
	w.client.Command(t, "ip", "link", "set", "port0", "master", "lan")
	w.awaitForwarding("port0")
	s := startSpeaker(t, ns, childSpeaker{"eth0", []netip.Addr{vip4, vip6}, pause})
	mac := linkOf(t, ns, "eth0").MAC
	arps, ndps := w.socket(familyARP), w.socket(familyNDP)
	frames := [2]<-chan []byte{capture(arps, mac), capture(ndps, mac)}
	ask := func() {
		sendAll(t, arps, arpRequest(host4, vip4))
		sendAll(t, ndps, resolution(vip6))
	}
	expect := func() {
		t.Helper()
		for _, f := range frames {
			for b := receive(t, f); macAddr(b[:6]) != hostMAC; { // not an answer: announced, or the kernel's own
				b = receive(t, f)
			}
		}
	}
	ask()
	expect()

	s.signal(syscall.SIGSTOP)
	netnstest.Eventually(t, limit, func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		if err == nil && !bytes.Contains(stat, []byte(") T ")) {
			err = fmt.Errorf("it still runs: %s", stat)
		}
		return err
	})
	for range 50 {
		ask()
	}
	time.Sleep(2 * pause) // the pause itself
	s.signal(syscall.SIGCONT)
	s.expect("paused")
	ask()
	other := w.newSpeaker("") // it was asked later: when its answers are here, the others would be
	other.apply(vip4.Next(), vip6.Next())
	w.resolve(vip4.Next(), other)
	w.resolve(vip6.Next(), other)
	for _, f := range frames {
		for len(f) > 0 {
			if b := <-f; macAddr(b[:6]) == hostMAC {
				t.Fatalf("a request was answered by a paused speaker: %x", b)
			}
		}
	}
	_, err := io.Copy(s.in, strings.NewReader("resume\n"))
	must(t, err)
	if b := receive(t, frames[0]); !bytes.Equal(b, gratuitousARP(vip4, mac)[0]) {
		t.Errorf("the first frame after the pause is %x", b)
	}
	ask()
	expect()
}
