package main

import (
	"io"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/controllers"
)

// TestNoWriteOutlivesTheLease: a write may begin until renewDeadline after the last renewal, and has to be over before
// another replica may lead.
func TestNoWriteOutlivesTheLease(t *testing.T) {
	if left := leaseDuration - renewDeadline; controllers.WriteTimeout >= left {
		t.Errorf("a write may take %s, but only %s are left of the lease", controllers.WriteTimeout, left)
	}
}

// TestServiceNodePortRangeIsRead: a range that does not parse ends the start, since by it ports might be given twice.
func TestServiceNodePortRangeIsRead(t *testing.T) {
	f := controllerFlags{writers: 1, nodePorts: "32767-30000"}
	if err := f.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), `--service-node-port-range: "32767-30000" ends before it starts`) {
		t.Error(err)
	}
}
