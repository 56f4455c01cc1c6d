//go:build linux

package link

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestKernelAnswers(t *testing.T) {
	conf := func(values ...string) fstest.MapFS {
		out := fstest.MapFS{}
		for _, v := range values {
			name, value, _ := strings.Cut(v, "=")
			out["net/ipv4/conf/"+name+"/arp_ignore"] = &fstest.MapFile{Data: []byte(value + "\n")}
		}
		return out
	}
	tests := []struct {
		name   string
		sysctl fstest.MapFS
		want   string // what the sentences hold
	}{
		{"no IPVS", conf("all=0", "eth0=0", "eth1=0"), ""},
		{"IPVS without strict ARP", conf("all=0", "eth0=0", "eth1=0", "kube-ipvs0=0"), "on eth0 for;is 0|on eth1 for;is 0"},
		{"strict ARP", conf("all=1", "eth0=0", "eth1=0", "kube-ipvs0=0"), ""},
		{"stricter", conf("all=0", "eth0=2", "eth1=8", "kube-ipvs0=0"), ""},
		{"strict on one link", conf("all=0", "eth0=1", "eth1=0", "kube-ipvs0=0"), "on eth1 for;is 0"},
		{"by scope, which those addresses have", conf("all=3", "eth0=1", "eth1=0", "kube-ipvs0=0"), "on eth0 for;is 3|on eth1 for;is 3"},
		{"unreadable", conf("all=x", "eth0=1", "eth1=0", "kube-ipvs0=0"), "may answer;on eth0;arp_ignore of all|may answer"},
		{"a link that is gone", conf("all=1", "eth0=1", "kube-ipvs0=0"), "may answer;on eth1"},
	}
	for _, test := range tests {
		got := KernelAnswers(test.sysctl, []string{"eth0", "eth1"})
		var want []string
		if test.want != "" {
			want = strings.Split(test.want, "|")
		}
		if len(got) != len(want) {
			t.Errorf("%s: %q, want %d sentences", test.name, got, len(want))
			continue
		}
		for i, parts := range want {
			for part := range strings.SplitSeq(parts, ";") {
				if !strings.Contains(got[i], part) {
					t.Errorf("%s: %q does not say %q", test.name, got[i], part)
				}
			}
		}
	}
}
