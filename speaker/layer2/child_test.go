//go:build linux && (netns || bench || soak)

package layer2

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Set in a process that a test started, to what it is to do and to its parameters.
const (
	childEnv      = "FAIRLEAD_TEST_CHILD"
	parametersEnv = "FAIRLEAD_TEST_PARAMETERS"
)

// childWork is what a process can do that a test starts. It writes its result, as JSON.
type childWork interface{ run() error }

func childWorks() map[string]childWork {
	return map[string]childWork{"flood": &flood{}, "speaker": &childSpeaker{}}
}

// TestMain is that other process, if this is one.
func TestMain(m *testing.M) {
	kind, ok := os.LookupEnv(childEnv)
	if !ok {
		os.Exit(m.Run())
	}
	work := childWorks()[kind]
	err := json.Unmarshal([]byte(os.Getenv(parametersEnv)), work)
	if err == nil {
		err = work.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(work)
}

// newChild returns a command that is this program, in a namespace.
func newChild(t testing.TB, ns *netnstest.NS, kind string, work any) *exec.Cmd {
	t.Helper()
	parameters, err := json.Marshal(work)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("nsenter", "--net="+ns.Path(), self) // becomes self, so that signals hit it
	c.Env = append(os.Environ(), childEnv+"="+kind, parametersEnv+"="+string(parameters))
	c.Stderr = os.Stderr
	return c
}

// childSpeaker is an announcer in a process of its own. It writes a line when it is ready and when it is paused, and
// resumes for every line that it reads.
type childSpeaker struct {
	Device    string
	Addresses []netip.Addr
	Pause     time.Duration
}

func (c *childSpeaker) run() error {
	device, err := net.InterfaceByName(c.Device)
	if err != nil {
		return err
	}
	var want []plan.Announcement
	for _, a := range c.Addresses {
		want = append(want, plan.Announcement{Address: a, Link: linkOfInterface(device)})
	}
	a := New(Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), PauseAfter: c.Pause, RepeatFor: 1, RefreshEvery: -1})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	if err := a.Apply(ctx, want); err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		for range a.Changed() {
			if _, paused := a.Paused(); paused {
				fmt.Println("paused")
			}
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		noticed, _ := a.Paused()
		if err := a.Resume(ctx, noticed, want); err != nil {
			return err
		}
	}
	stop()
	return <-ended
}
