//go:build e2e

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// abandonedName is set in the process that TestKilledOwner starts and kills.
const abandonedName = "FAIRLEAD_E2E_ABANDON"

func TestKilledOwner(t *testing.T) {
	if name := os.Getenv(abandonedName); name != "" {
		c, err := Start(context.Background(), Options{Name: name, Nodes: 1, Log: os.Stderr})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nup %s\n", c.Dir())
		select {} // until killed
	}
	name := "fl-" + randomHex(3)
	owner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledOwner$")
	owner.Env = append(os.Environ(), abandonedName+"="+name)
	owner.Stderr = t.Output()
	stdout, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	for lines := bufio.NewScanner(stdout); dir == "" && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "up "); ok {
			dir = rest
		}
	}
	if dir == "" {
		t.Fatalf("the owner did not get it up: %v", owner.Wait())
	}
	if _, err := claimName(name, ""); !errors.Is(err, errOwned) {
		t.Errorf("the name of a living cluster can be taken: %v", err)
	}
	if err := sweep(&progress{w: t.Output()}); err != nil {
		t.Error(err)
	}
	if len(namespacesOf(name)) == 0 {
		t.Fatal("the cluster of a living owner was swept away")
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	owner.Wait() // says that it was killed
	if len(namespacesOf(name)) == 0 {
		t.Fatal("nothing was left to sweep")
	}
	start(t, Options{Nodes: 1})
	nothingLeft(t, name, dir)
}

func TestInterruptedStart(t *testing.T) {
	for _, after := range []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second} {
		name, dir := "fl-"+randomHex(3), t.TempDir()+"/cluster"
		ctx, cancel := context.WithTimeout(t.Context(), after)
		c, err := Start(ctx, Options{Name: name, Dir: dir, Log: t.Output()})
		cancel()
		if err == nil {
			c.Close()
			t.Logf("up before %s had passed", after)
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v", after, err)
		}
		nothingLeft(t, name, dir)
	}
}

func TestFailedStart(t *testing.T) {
	name, dir := "fl-"+randomHex(3), t.TempDir()+"/cluster"
	begin := time.Now()
	_, err := Start(t.Context(), Options{Name: name, Dir: dir, Log: t.Output(), APIServerArgs: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("the error must tell what kube-apiserver said: %v", err)
	}
	if took := time.Since(begin); took > apiTimeout/2 {
		t.Errorf("it took %s to notice that kube-apiserver had ended", took)
	}
	nothingLeft(t, name, dir)
}
