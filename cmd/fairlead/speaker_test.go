package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/speaker/link"
)

// TestTheDocumentsTellTheSpeakersDefaults: its flags in the tables of the documents have the defaults that stand there.
func TestTheDocumentsTellTheSpeakersDefaults(t *testing.T) {
	words := map[string]string{
		"off": "false", "the Node's InternalIP": "", "derived from the node's name": "", "MetalLB's list": strings.Join(link.DefaultExclude(), ","),
	}
	row := regexp.MustCompile("(?m)^\\| (`--[^|]+) \\| ([^|]+) \\|")
	for _, document := range []string{"layer2.md", "bgp.md"} {
		text, err := os.ReadFile("../../docs/" + document)
		if err != nil {
			t.Fatal(err)
		}
		rows := row.FindAllStringSubmatch(string(text), -1)
		if len(rows) == 0 {
			t.Errorf("%s has no table of flags", document)
		}
		for _, r := range rows {
			names, defaults := strings.Split(r[1], ", "), strings.Split(r[2], ", ")
			for i, name := range names {
				flag := speakerCommand().Flags().Lookup(strings.Trim(name, "`-"))
				if flag == nil || len(defaults) != len(names) {
					t.Errorf("%s: there is no flag %s, or not one default for each of %s", document, name, r[1])
					continue
				}
				value, ok := words[defaults[i]]
				if !ok {
					value = defaults[i]
				}
				if err := flag.Value.Set(value); err != nil || flag.Value.String() != flag.DefValue {
					t.Errorf("%s says of %s %q, which is %s (%v), not %s", document, name, defaults[i], flag.Value, err, flag.DefValue)
				}
			}
		}
	}
}

// TestARefreshOf0IsNever, as layer2.Config has it.
func TestARefreshOf0IsNever(t *testing.T) {
	if off, on := never(0), never(time.Minute); off >= 0 || on != time.Minute {
		t.Errorf("0 becomes %v, a minute %v", off, on)
	}
}
