package controllers

import (
	"reflect"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// TestEachKindIsConfiguredOnce: of two entries for one kind the cache would take either, by the order of a map.
func TestEachKindIsConfiguredOnce(t *testing.T) {
	roles := map[string][]func(*manager.Options){
		"controller": {
			(&Webhooks{Namespace: "metallb-system"}).Configure,
			(&ConfigurationState{Namespace: "metallb-system"}).Configure,
			(&StaleStatuses{Namespace: "metallb-system"}).Configure,
		},
		"speaker": {
			(&ConfigurationState{Namespace: "metallb-system", Node: "n1"}).Configure,
			(&ExcludedInterfaces{Namespace: "metallb-system"}).Configure,
			(&ServiceL2Statuses{Namespace: "metallb-system", Node: "n1"}).Configure,
			(&BGPStatuses{Namespace: "metallb-system", Node: "n1"}).Configure,
			func(o *manager.Options) { WithPasswords(o, "metallb-system") },
			func(o *manager.Options) { WithKept(o, "") },
		},
		"programmer": {(&Programming{Namespace: "metallb-system"}).Configure},
	}
	for role, configures := range roles {
		o, err := ManagerOptions("metallb-system")
		if err != nil {
			t.Fatal(err)
		}
		for _, configure := range configures {
			configure(&o)
		}
		seen := map[reflect.Type]bool{}
		for object := range o.Cache.ByObject {
			kind := reflect.TypeOf(object)
			if seen[kind] {
				t.Errorf("%s: %s is configured twice", role, kind)
			}
			seen[kind] = true
		}
	}
}
