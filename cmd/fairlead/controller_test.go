package main

import (
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
