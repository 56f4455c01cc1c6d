package lint

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	crd "github.com/fairlead-lb/fairlead/config/crd"
)

func linter(t testing.TB) *Linter {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestGolden checks each testdata/NAME.yaml and compares what is found with NAME.txt; -update writes that anew.
func TestGolden(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	l := linter(t)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			r := l.Check([]File{{filepath.Base(name), data}}, "metallb-system")
			got := ""
			for _, f := range r.Findings {
				got += f.String() + "\n"
			}
			got += fmt.Sprintf("%d of %d documents checked\n", r.Checked, r.Documents)
			golden := strings.TrimSuffix(name, ".yaml") + ".txt"
			if update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestMain adds the flag -update.
func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the expected outputs anew")
	os.Exit(m.Run())
}

// TestEveryRuleOfTheDefinitions has, for each CEL rule in the CustomResourceDefinitions, a manifest that breaks it: lint
// does not run the rules, so it must find the same by other means. Rules about changes do not concern it.
func TestEveryRuleOfTheDefinitions(t *testing.T) {
	const peer = "apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: x, namespace: metallb-system}\nspec: {myASN: 1, peerASN: 2, peerAddress: 10.0.0.1, "
	const reservation = "apiVersion: fairlead.io/v1alpha1\nkind: AddressReservation\nmetadata: {name: x, namespace: metallb-system}\nspec: "
	broken := map[string][]string{ // by rule, with white space folded
		`duration(self) >= duration('0s')`: {
			peer + "holdTime: -1s}", peer + "keepaliveTime: -1s}",
			"apiVersion: fairlead.io/v1alpha1\nkind: AddressPolicy\nmetadata: {name: x, namespace: metallb-system}\nspec: {retain: -1s}",
			"apiVersion: fairlead.io/v1alpha1\nkind: AddressPolicy\nmetadata: {name: x, namespace: metallb-system}\nspec: {reuseDelay: -1s}",
		},
		`duration(self) >= duration('1s') && duration(self) <= duration('65535s')`: {peer + "connectTime: 0s}", peer + "connectTime: 65536s}"},
		`duration(self).getMilliseconds() % 1000 == 0`:                             {peer + "connectTime: 1500ms}"},
		`has(self.address) != has(self.pool)`: {
			reservation + "{service: {namespace: a, name: b}}",
			reservation + "{address: 10.0.0.1, pool: p, service: {namespace: a, name: b}}",
		},
		`!has(self.family) || has(self.pool)`: {reservation + "{address: 10.0.0.1, family: IPv4, service: {namespace: a, name: b}}"},
		`has(self.service) != has(self.selector)`: {
			reservation + "{address: 10.0.0.1}",
			reservation + "{address: 10.0.0.1, service: {namespace: a, name: b}, selector: {}}",
		},
		`!has(self.serviceSelectors) || size(self.serviceSelectors) == 0 || ((!has(self.aggregationLength) || self.aggregationLength == 32) && (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))`: {
			"apiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\nmetadata: {name: x, namespace: metallb-system}\nspec: {aggregationLength: 24, serviceSelectors: [{}]}",
			"apiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\nmetadata: {name: x, namespace: metallb-system}\nspec: {aggregationLengthV6: 64, serviceSelectors: [{}]}",
		},
	}
	l := linter(t)
	for _, rule := range rules(t) {
		if strings.Contains(rule, "oldSelf") {
			continue
		}
		manifests := broken[rule]
		if len(manifests) == 0 {
			t.Errorf("the rule %q has no manifest here that breaks it", rule)
		}
		for _, m := range manifests {
			r := l.Check([]File{{"x", []byte(m)}}, "metallb-system")
			if r.Count(Error) == 0 {
				t.Errorf("the rule %q is broken, and nothing is found in\n%s\nbut %v", rule, m, r.Findings)
			}
		}
	}
}

// rules returns the CEL rules of all definitions, with white space folded.
func rules(t *testing.T) (out []string) {
	t.Helper()
	names, err := fs.Glob(crd.Definitions(), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	find := regexp.MustCompile(`(?m)^ +rule: ((?:.+\n)(?: {14,}[^ -][^:\n]*\n| +[&|][^\n]*\n)*)`)
	for _, name := range names {
		data, err := crd.Definitions().ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range find.FindAllSubmatch(data, -1) {
			out = append(out, strings.Trim(strings.Join(strings.Fields(string(m[1])), " "), "'"))
		}
	}
	if len(out) == 0 {
		t.Fatal("there are no rules")
	}
	return out
}

// TestSamplesAreClean: what the documentation and the samples show has nothing wrong.
func TestSamplesAreClean(t *testing.T) {
	files, err := filepath.Glob("../config/samples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var all []File
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, File{name, data})
	}
	if r := linter(t).Check(all, "metallb-system"); len(r.Findings) != 0 {
		t.Error(r.Findings)
	}
}

// FuzzCheck: whatever stands in a file, checking it ends and does not crash.
func FuzzCheck(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	l := linter(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := l.Check([]File{{"x", data}}, "metallb-system")
		lines := strings.Count(string(data), "\n") + 1
		for _, x := range r.Findings {
			if x.Line < 1 || x.Line > lines {
				t.Errorf("line %d of %d: %s", x.Line, lines, x)
			}
		}
	})
}
