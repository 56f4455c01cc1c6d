package bench

import (
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	var hundred sample
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i))
	}
	for name, c := range map[string]struct {
		s                  sample
		median, p99, worst time.Duration
	}{
		"none":    {nil, 0, 0, 0},
		"one":     {sample{7}, 7, 7, 7},
		"five":    {sample{9, 1, 5, 3, 7}, 5, 9, 9},
		"hundred": {hundred, 50, 99, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if m, p, w := c.s.median(), c.s.p99(), c.s.worst(); m != c.median || p != c.p99 || w != c.worst {
				t.Errorf("median %d, p99 %d, worst %d; want %d, %d, %d", m, p, w, c.median, c.p99, c.worst)
			}
		})
	}
}

func TestShow(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                        "0.00 µs",
		1234 * time.Nanosecond:   "1.23 µs",
		-12345 * time.Nanosecond: "-12.3 µs",
		123456 * time.Nanosecond: "123 µs",
		2345 * time.Microsecond:  "2.35 ms",
		23456 * time.Microsecond: "23.5 ms",
		12 * time.Second:         "12.0 s",
		6 * time.Minute:          "360 s",
	} {
		if got := show(d); got != want {
			t.Errorf("%d ns is shown as %q, want %q", d, got, want)
		}
	}
}

func TestWrites(t *testing.T) {
	const before = `# HELP apiserver_request_total Counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 10
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="cluster",subresource="",verb="WATCH",version="v1"} 4
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="events",scope="resource",subresource="",verb="POST",version="v1"} 5
`
	const after = `apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 12
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 1
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="cluster",subresource="",verb="WATCH",version="v1"} 9
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="events",scope="resource",subresource="",verb="POST",version="v1"} 5
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 1.2e+01
apiserver_request_terminations_total{code="",verb="PUT"} 3
`
	diff := parseCounts(after, "apiserver_request_total").since(parseCounts(before, "apiserver_request_total"))
	if got, want := diff.writes().String(), "3 PATCH services/status, 12 PUT leases"; got != want {
		t.Errorf("written: %s, want %s", got, want)
	}
	if got := (counts{}).String(); got != "none" {
		t.Errorf("nothing is shown as %q", got)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	x := table{title: "Title", head: []string{"what", "median"}}
	x.add("a longer name", "1 ms")
	x.add("b", "23 ms")
	if err := x.write(&out); err != nil {
		t.Fatal(err)
	}
	want := "\nTitle\n  what           median\n  a longer name  1 ms\n  b              23 ms\n"
	if out.String() != want {
		t.Errorf("printed\n%q, want\n%q", out.String(), want)
	}
}
