package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAnAPIServerThatIsNotThereIsWaitedFor: a node may start before its API server, and a pod that ends would come back
// later and later.
func TestAnAPIServerThatIsNotThereIsWaitedFor(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	err := os.WriteFile(kubeconfig, []byte(`
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c}}]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var log bytes.Buffer
	c := root()
	c.SetErr(&log)
	c.SetArgs([]string{"speaker", "--node-name", "n1", "--kubeconfig", kubeconfig})
	if err := c.ExecuteContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
	if got := strings.Count(log.String(), "waiting for the API server"); got != 1 {
		t.Errorf("said %d times that it waits, want once:\n%s", got, &log)
	}
}
