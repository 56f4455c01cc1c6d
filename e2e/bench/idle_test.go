//go:build bench

package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

const (
	idleServices = 1000
	idleTime     = time.Minute
	// repeats is longer than a speaker repeats its gratuitous announcements.
	repeats = 8 * time.Second
	// quietFor is how long nothing is written before a cluster idles.
	quietFor = 5 * time.Second
)

// idle creates a thousand Services, waits until each is announced, and then looks at what the processes use and write
// in a minute in which nothing happens.
func idle(m *measurement) {
	m.Cleanup(func() { m.must(lab.clear(context.Background(), true)) })
	m.must(lab.create(m.ctx, idleServices, func(i int) client.Object { return lab.lightEndpoints(number(i)) }))
	lab.settle(m.ctx)
	comeAll(m)

	// Speaker 0 becomes one that was started with the Services there; the others saw them come.
	m.during("a speaker starts again", func() (err error) {
		if _, err = lab.speakers[0].Stop(m.ctx); err != nil {
			return err
		}
		if lab.speakers[0], err = lab.StartSpeaker(m.ctx, 0, failback); err != nil {
			return err
		}
		if err = lab.WaitReady(m.ctx, lab.speakers[0]); err == nil {
			err = lab.awaitAnnounced(m.ctx, idleServices)
		}
		return err
	})
	time.Sleep(repeats)
	m.during("what was announced is written down", func() error { return lab.awaitNoWrites(m.ctx) })

	processes := []*cluster.Process{lab.controller, lab.speakers[0], lab.speakers[1]}
	found, took := atRest(m, processes, idleTime)
	for i, who := range []string{"controller", "speaker started with them there", "speaker that saw them come"} {
		resident, cpu := "", ""
		if i > 0 {
			resident, cpu = "< 40 MB", "< 1 %"
		}
		found.show(m, processes[i].Name, who, i, took, resident, cpu)
	}
	found.showWrites(m)
	leases, _ := found.requests.writes().leases()
	m.value("idle-log-lines", "lines", "lines logged by the three", float64(found.lines), fmt.Sprint(found.lines), "0")
	m.value("idle-lease-writes", "requests", "writes of leases, the controller's and Kubernetes' own", leases.sum(), fmt.Sprint(leases.sum()), "")
}

// rest is what processes did while nothing happened, and what they had taken before and after.
type rest struct {
	processes     []*cluster.Process
	before, after []cluster.Usage
	requests      counts // to the API server
	lines         int    // that they logged
}

// atRest looks at what processes do for as long in which nothing happens, and returns how long that was.
func atRest(m *measurement, processes []*cluster.Process, long time.Duration) (out rest, took time.Duration) {
	fmt.Fprintf(os.Stderr, "  the cluster idles for %s\n", long)
	before, requests, err := readings(m.ctx, processes)
	m.must(err)
	said := logged(m, processes)
	begin := time.Now()
	time.Sleep(long)
	took = time.Since(begin)
	after, requestsAfter, err := readings(m.ctx, processes)
	m.must(err)
	return rest{processes, before, after, requestsAfter.since(requests), logged(m, processes) - said}, took
}

// show reports what one of the processes took, under a name for machines and one for people, beside what is expected.
func (r rest) show(m *measurement, metric, who string, i int, took time.Duration, resident, cpu string) {
	anonymous, err := anonymousMemory(r.processes[i])
	m.must(err)
	now, share := r.after[i].Resident, 100*(r.after[i].CPU-r.before[i].CPU).Seconds()/took.Seconds()
	m.value(metric+"-resident", "MiB", fmt.Sprintf("%s: resident (%s without its file)", who, mib(anonymous)), float64(now)/(1<<20), mib(now), resident)
	m.value(metric+"-cpu", "%core", who+": share of a core", share, fmt.Sprintf("%.2f %%", share), cpu)
}

// showWrites reports what was written to the API server.
func (r rest) showWrites(m *measurement) {
	_, others := r.requests.writes().leases()
	m.value("idle-writes", "requests", "writes to the API server but of leases: "+others.String(), others.sum(), fmt.Sprint(others.sum()), "0")
}

// logged counts the lines that processes have logged.
func logged(m *measurement, processes []*cluster.Process) (lines int) {
	for _, p := range processes {
		text, err := os.ReadFile(p.Log)
		m.must(err)
		lines += bytes.Count(text, []byte("\n"))
	}
	return lines
}

// awaitNoWrites waits until nothing was written to the API server for some seconds, but leases.
func (l *installation) awaitNoWrites(ctx context.Context) error {
	last, since := -1.0, time.Now()
	return cluster.Eventually(ctx, 3*time.Minute, func() error {
		text, err := l.Kubectl(ctx, "", "get", "--raw", "/metrics")
		if err != nil {
			return err
		}
		_, others := parseCounts(text, "apiserver_request_total").writes().leases()
		if n := others.sum(); n != last {
			last, since = n, time.Now()
		}
		if quiet := time.Since(since); quiet < quietFor {
			return fmt.Errorf("there were writes %s ago", quiet)
		}
		return nil
	})
}

// leases tells writes of leases from others.
func (c counts) leases() (leases, others counts) {
	leases, others = counts{}, counts{}
	for what, n := range c {
		if strings.HasSuffix(what, " leases") {
			leases[what] = n
		} else {
			others[what] = n
		}
	}
	return leases, others
}

// comeAll creates the Services and waits until each is announced.
func comeAll(m *measurement) {
	watch, err := lab.follow(m.ctx)
	m.must(err)
	defer watch.stop()
	processes := []*cluster.Process{lab.controller, lab.speakers[0], lab.speakers[1], lab.speakers[2]}
	before, err := usages(processes)
	m.must(err)
	begin := time.Now()
	var shown []sighting
	m.during(fmt.Sprintf("%d Services come", idleServices), func() error {
		err := lab.create(m.ctx, idleServices, func(i int) client.Object { return light(number(i), "") })
		if err != nil {
			return err
		}
		if shown, err = watch.awaitAddresses(m.ctx, idleServices); err != nil {
			return err
		}
		return lab.awaitAnnounced(m.ctx, idleServices)
	})
	last := shown[idleServices-1].at.Sub(begin)
	after, err := usages(processes)
	m.must(err)
	var speakers time.Duration
	for i := range lab.speakers {
		speakers += (after[1+i].CPU - before[1+i].CPU) / time.Duration(len(lab.speakers))
	}
	controller := after[0].CPU - before[0].CPU
	m.value("come", "s", fmt.Sprintf("%d Services created, %d at a time -> last EXTERNAL-IP", idleServices, clients), last.Seconds(), show(last), "")
	m.value("come-controller-cpu", "s", "... processor time of the controller", controller.Seconds(), show(controller), "")
	m.value("come-speaker-cpu", "s", "... processor time of a speaker, mean of three", speakers.Seconds(), show(speakers), "")
}

// usages reads what processes have used.
func usages(processes []*cluster.Process) ([]cluster.Usage, error) {
	var out []cluster.Usage
	for _, p := range processes {
		u, err := p.Usage()
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// anonymousMemory is what is resident of a process without the pages of files, of which a program's own is the only
// large one: those are shared by all who run it and can be read again.
func anonymousMemory(p *cluster.Process) (int64, error) { return p.Memory("RssAnon") }

// readings reads what processes have used, and how often the API server was asked for what. It counts no user agents;
// nothing else than Fairlead writes but the API server itself, its leases.
func readings(ctx context.Context, processes []*cluster.Process) ([]cluster.Usage, counts, error) {
	used, err := usages(processes)
	if err != nil {
		return nil, nil, err
	}
	text, err := lab.Kubectl(ctx, "", "get", "--raw", "/metrics")
	return used, parseCounts(text, "apiserver_request_total"), err
}
