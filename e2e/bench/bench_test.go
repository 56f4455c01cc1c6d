//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// The benchmarks run in this order, on one cluster. Each does its own number of measurements whatever b.N is, and takes
// longer than the default -benchtime, so that it runs once. Each leaves no Service behind.

func BenchmarkAssignment(b *testing.B) { stage(b, "One Service after the other", assignment) }
func BenchmarkTakeOver(b *testing.B)   { stage(b, "Take-over", takeOver) }
func BenchmarkTakeOver6(b *testing.B)  { stage(b, "Take-over over IPv6", takeOver6) }
func BenchmarkTakeOver2000(b *testing.B) {
	stage(b, "Take-over of 2,000 addresses", func(m *measurement) { takeOverMany(m, 2000) })
}
func BenchmarkIdle(b *testing.B) { stage(b, "Idle with 1,000 Services", idle) }
func BenchmarkBurst(b *testing.B) {
	stage(b, "2,000 Services at once", func(m *measurement) { burst(m, 2000, 2*time.Second) })
}

func BenchmarkBurst10000(b *testing.B) {
	stage(b, "10,000 Services at once", func(m *measurement) { burst(m, 10000, 5*time.Second) })
}

func BenchmarkAsking(b *testing.B) { stage(b, "Asked about 10,000 Services", asking) }

func BenchmarkRoutes10000(b *testing.B) {
	stage(b, "10,000 Services by BGP to four routers", routes)
}

// lab is the cluster that the benchmarks share; the first one starts it.
var lab *installation

// figures is what the run prints at its end.
var figures = table{head: []string{"", "n", "median", "p99, worst of 5", "expected"}}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctrllog.SetLogger(logr.Discard()) // the client's errors come back to the benchmarks
	started := time.Now()
	code := m.Run()
	if lab == nil {
		return code
	}
	if code != 0 {
		lab.tail(os.Stderr)
	}
	if err := lab.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "taking the cluster down:", err)
	}
	figures.title = fmt.Sprintf("%s; %s in all", machine(), time.Since(started).Round(time.Second))
	if err := figures.write(os.Stdout); err != nil {
		return 1
	}
	return code
}

// stage runs one benchmark: it brings the cluster up if it is the first, waits until the cluster is at rest, and heads the
// benchmark's rows in the table.
func stage(b *testing.B, title string, fn func(*measurement)) {
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Minute)
	defer cancel()
	m := &measurement{b, ctx}
	if lab == nil {
		l, err := install(ctx)
		m.must(err)
		lab = l
	}
	if lab.inUse {
		b.Fatal("an earlier benchmark gave up and left the cluster as it was")
	}
	lab.inUse = true
	lab.settle(ctx)
	begin, row := readBusy(), len(figures.rows)
	figures.add("")
	fn(m)
	figures.rows[row] = []string{fmt.Sprintf("%s (other processes: %s)", title, readBusy().foreignSince(begin)), "", "", "", ""}
	b.ReportMetric(0, "ns/op") // says nothing here
	lab.inUse = false
}

// measurement is one benchmark while it runs.
type measurement struct {
	*testing.B
	ctx context.Context
}

func (m *measurement) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// during does a part of a benchmark, with a sign of life if it takes long.
func (m *measurement) during(what string, fn func() error) {
	m.Helper()
	m.must(cluster.Progress(os.Stderr, what, fn))
}

// durations reports a sample under a name for machines and one for people; high is 0.99 or 1, the quantile beside the
// median.
func (m *measurement) durations(metric, what string, s sample, high float64, expected string) {
	name := map[float64]string{0.99: "p99", 1: "worst"}[high]
	m.ReportMetric(float64(s.median().Microseconds())/1000, metric+"-median-ms")
	m.ReportMetric(float64(s.quantile(high).Microseconds())/1000, metric+"-"+name+"-ms")
	figures.add("  "+what, fmt.Sprint(len(s)), show(s.median()), show(s.quantile(high)), expected)
}

// value reports a single figure.
func (m *measurement) value(metric, unit, what string, value float64, shown, expected string) {
	m.ReportMetric(value, metric+"-"+unit)
	figures.add("  "+what, "", shown, "", expected)
}
