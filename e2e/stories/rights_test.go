//go:build e2e

package stories

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/rights"
)

// holders are the roles by who has them.
var holders = map[string][]string{
	"system:serviceaccount:metallb-system:fairlead-controller": {"fairlead-controller", "fairlead-status", "fairlead-metrics"},
	"system:serviceaccount:metallb-system:fairlead-speaker":    {"fairlead-speaker"},
	"system:serviceaccount:metallb-system:fairlead-ipvs":       {"fairlead-ipvs"},
	"system:serviceaccount:default:viewer":                     {"fairlead-viewer"},
}

// unseen are the rights that no story can show to be used, and why they are granted all the same.
var unseen = map[string]string{
	"fairlead-controller may delete programmerstates.fairlead.io in metallb-system":  "a programmer has to be silent for a minute: the tests of controllers with an API server",
	"fairlead-controller may update secrets fairlead-webhook-cert in metallb-system": "the certificate is renewed after months: the same",
	// The programmer tells that it is alive where the kernel holds what it is to: in the virtual machines of ./ipvs.
	"fairlead-ipvs may create leases.coordination.k8s.io in metallb-system": "kernels of nodes here may have no IPVS",
	"fairlead-ipvs may get leases.coordination.k8s.io in metallb-system":    "the same",
	"fairlead-ipvs may update leases.coordination.k8s.io in metallb-system": "the same",
	"fairlead-metrics-reader may get /metrics":                              "it is used at the roles' own doors, which ask the API server about it: TestDoors",
	"fairlead-viewer may get /fairlead/status":                              "the same",
}

// everyStory says whether the stories were not chosen by a flag.
func everyStory() bool {
	return flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""
}

// audit compares config/rbac with what was asked for in all stories: nothing was refused for good, and where every story was told,
// every right was used.
func audit(c *cluster.Cluster, complete bool) error {
	log, err := os.ReadFile(c.AuditLog())
	if err != nil {
		return err
	}
	requests, err := rights.Asked(bytes.NewReader(log))
	if err != nil {
		return err
	}
	var errs []error
	for r := range requests {
		allowed := r
		allowed.Refused = false // as an API server that has just started does with what it allows a moment later
		if r.Refused && holders[r.User] != nil && !requests[allowed] {
			errs = append(errs, fmt.Errorf("missing: %s", r))
		}
	}
	if !complete {
		return errors.Join(errs...)
	}
	granted, err := granted()
	if err != nil {
		return err
	}
	for _, r := range rights.Unused(granted, requests, holders) {
		if unseen[r.String()] == "" {
			errs = append(errs, fmt.Errorf("not used: %s", r))
		}
	}
	for r := range unseen {
		if !slices.ContainsFunc(granted, func(g rights.Right) bool { return g.String() == r }) {
			errs = append(errs, fmt.Errorf("not granted: %s; take it out of the table of what is unseen", r))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// granted returns all rights of config/rbac.
func granted() ([]rights.Right, error) {
	var all []byte
	for _, pattern := range []string{"../../config/rbac/*.yaml", "../../config/rbac/ipvs/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			all = append(append(all, "\n---\n"...), text...)
		}
	}
	return rights.Of(all)
}
