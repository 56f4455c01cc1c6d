//go:build browser

package statuspage

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/explain"
)

// living is a page whose cluster can change, as a controller serves it.
func living(t *testing.T, services int) (url string, change func(func(*explain.View))) {
	t.Helper()
	var now atomic.Pointer[explain.View]
	now.Store(sample(services))
	p := &Page{
		Source: func(context.Context) (*explain.View, error) { return now.Load(), nil },
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "v0.4.0", Now: time.Now,
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for p.now.Load() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return server.URL, func(fn func(*explain.View)) {
		v := sample(services)
		fn(v)
		now.Store(v)
	}
}

// TestLiveInABrowser: what changes in the cluster shows by itself, and disturbs nobody: what is being typed, the focus of the
// keyboard and the filter stay. The page can be held still.
func TestLiveInABrowser(t *testing.T) {
	url, change := living(t, 50)
	x := newTab(t)
	x.open(url + "/services?state=announced&q=office")
	x.await("the page", "document.querySelectorAll('#rows tbody tr').length === 3")
	x.eval("window.since = 'the start'; 0")

	// Somebody types while a Service comes: what was there is selected, so that it is replaced.
	x.tabTo("input[name=q]")
	x.write(" x")
	change(func(v *explain.View) { give(v, "office", "plotter", netip.MustParseAddr("192.168.7.14"), 1) })
	x.await("a new Service", "document.getElementById('rows').innerText.includes('office/plotter')")
	if got := x.eval("[window.since, document.activeElement.name, document.activeElement.value, document.querySelector('select[name=state]').value, location.search].join()"); got != "the start,q, x,announced,?state=announced&q=office" {
		t.Errorf("what was typed, or the filter, did not stay: %s", got)
	}

	// The keyboard is on a row of the table, which goes on to be the same one.
	x.tabTo(`#rows a[href="/services/office/printer"]`)
	change(func(v *explain.View) { v.Services = v.Services[:len(v.Services)-3] }) // scanner and mail stay, plotter is gone again
	x.await("a Service that goes", "!document.getElementById('rows').innerText.includes('office/plotter')")
	if got := x.eval("window.since + ' ' + document.activeElement.getAttribute('href')"); got != "the start /services/office/printer" {
		t.Errorf("the focus did not stay: %s", got)
	}
	x.picture("live")

	// Held still, nothing moves; then everything comes at once.
	x.eval("document.getElementById('pause').focus(); 0")
	x.press("Enter")
	x.await("the button", "document.getElementById('pause').getAttribute('aria-pressed') === 'true'")
	change(func(v *explain.View) { give(v, "office", "plotter", netip.MustParseAddr("192.168.7.14"), 1) })
	time.Sleep(6 * time.Second) // longer than a change takes to show
	if x.eval("document.getElementById('rows').innerText.includes('office/plotter')") != "false" {
		t.Error("the page moves although it is held still")
	}
	x.press(" ")
	x.await("what came meanwhile", "document.getElementById('rows').innerText.includes('office/plotter')")

	// What was typed is searched by the keyboard alone.
	x.eval("document.querySelector('input[name=q]').focus(); document.activeElement.select(); 0")
	x.write("plot")
	x.press("Enter")
	x.await("the search", "location.search.includes('q=plot') && document.querySelectorAll('#rows tbody tr').length === 1")
	for _, path := range []string{"/", "/services", "/services/office/plotter"} {
		x.open(url + path)
		if roles := x.nameless(); len(roles) > 0 {
			t.Errorf("%s: without a name for a screen reader: %v", path, roles)
		}
	}
}

// The limits of the page with ten thousand Services, in the browser and on a busy machine: three times what is meant to be.
const (
	mostView   = 900 * time.Millisecond // from the request to the end of the document
	mostNodes  = 5000                   // elements
	mostUpdate = 900 * time.Millisecond // for one turn of the script
)

// TestLargeInABrowser: ten thousand Services are a page of a hundred, which comes and goes on in time.
func TestLargeInABrowser(t *testing.T) {
	url, change := living(t, 10_000)
	x := newTab(t)
	for _, path := range []string{"/", "/services", "/services?q=service-09&sort=-address", "/services/team-0/service-00000"} {
		x.open(url + path)
		x.await("the page", "document.querySelector('h1') && document.querySelector('h1').innerText !== 'Reading the cluster'")
		x.open("about:blank")
		x.open(url + path)
		took, err := strconv.ParseFloat(x.eval("performance.getEntriesByType('navigation')[0].domComplete"), 64)
		if err != nil || time.Duration(took*float64(time.Millisecond)) > mostView {
			t.Errorf("%s took %.0f ms (%v)", path, took, err)
		}
		nodes, err := strconv.Atoi(x.eval("document.querySelectorAll('*').length"))
		if err != nil || nodes > mostNodes {
			t.Errorf("%s has %d elements (%v)", path, nodes, err)
		}
		t.Logf("%s: %.0f ms, %d elements", path, took, nodes)
	}
	x.open(url + "/services?sort=state")
	if got := x.eval("document.querySelectorAll('#rows tbody tr').length + ' ' + document.querySelector('.count').innerText"); got != "100 1–100 of 10006" {
		t.Errorf("the first page has %s", got)
	}
	x.picture("large")
	change(func(v *explain.View) { give(v, "a-team", "newest", netip.Addr{}, 1) })
	x.await("a new Service", "document.getElementById('rows').innerText.includes('a-team/newest')")
	took, err := strconv.ParseFloat(x.eval("(async () => { tag = ''; const begin = performance.now(); await update(); return performance.now() - begin; })()"), 64)
	if err != nil || time.Duration(took*float64(time.Millisecond)) > mostUpdate {
		t.Errorf("an update took %.0f ms (%v)", took, err)
	}
	t.Logf("an update: %.0f ms", took)
}
