package statuspage

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-lb/fairlead/explain"
)

// ask sends one request to the page, as localhost.
func ask(p *Page, method, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost:7952"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// TestPages: every page says what it is for, escapes what others wrote, and forbids everything that it does not need.
func TestPages(t *testing.T) {
	p := started(t, sample(250), nil)
	for path, c := range map[string]struct {
		code int
		want []string
		not  []string
	}{
		"/": {200, []string{"<b>256</b> Services", "<b>2</b> without an address", "<b>1</b> not announced", `<b>7<small> / 8</small></b> BGP sessions up`, "office/one-too-many",
			"no IPv4 address is free in pool &#34;legacy&#34;", "4 of 4 IPv4", `class="state bad">invalid`, "excluded", "<td>serves 3</td>", "the kernel of node worker-2 lacks ip_vs", `aria-label="BGP sessions between 4 nodes and 2 peers: 7 of 8 established`}, nil},
		"/services":                               {200, []string{"1–100 of 256", `rel="next" id="next" href="/services?page=2"`, `<a href="/services/team-0/service-00000">`}, []string{`rel="prev"`}},
		"/services?page=3":                        {200, []string{"201–256 of 256", `rel="prev" id="previous" href="/services?page=2"`}, []string{`rel="next"`}},
		"/services?page=99999999999999":           {200, []string{"201–256 of 256"}, nil},
		"/services?page=77":                       {200, []string{"201–256 of 256"}, nil},
		"/services?state=waiting":                 {200, []string{"1–2 of 2 that match, 256 in all", "office/one-too-many"}, []string{"office/mail"}},
		"/services?q=10.0.0.7&sort=-name":         {200, []string{"1–11 of 11 that match", `aria-sort="descending"`}, nil},
		"/services?pool=legacy&sort=state":        {200, []string{"1–4 of 4 that match", `aria-sort="ascending"`, `href="/services?pool=legacy&amp;sort=-state"`}, nil},
		"/services?node=worker-9":                 {200, []string{"None that match", "No Service is so."}, nil},
		"/services?q=" + url.QueryEscape(hostile): {200, []string{"1–1 of 1 that match", "office/hostile"}, nil},
		"/services/office/unready":                {200, []string{"Does not work.", "none of the Service&#39;s 2 endpoints is serving", "kubectl -n office get endpointslices", ">NoEndpoints<"}, nil},
		"/services/office/mail":                   {200, []string{"is announced by node", "nodeAssigned"}, nil},
		"/services/office/mial":                   {404, []string{"did you mean &#34;office/mail&#34;?"}, nil},
		"/pools/public":                           {200, []string{"of its addresses are in use"}, nil},
		"/pools/pubic":                            {404, []string{"did you mean &#34;public&#34;?"}, nil},
		"/nodes/worker-3":                         {200, []string{"connection refused"}, nil},
		"/peers/tor-2":                            {200, []string{"3 of 4 sessions established", "connection refused"}[1:], nil},
		"/addresses/192.168.7.10":                 {200, []string{"belongs to Service office/mail"}, nil},
		"/addresses/192.168.7.1000":               {404, []string{"is not an IP address"}, nil},
		"/addresses/fe80::1%25eth0":               {404, []string{"is not an IP address"}, nil},
		"/nothing":                                {404, nil, nil},
		"/assets/style.css":                       {200, []string{"light-dark"}, nil},
		"/assets/../page.go":                      {307, nil, nil},
	} {
		t.Run(path, func(t *testing.T) {
			w := ask(p, "GET", path)
			body := w.Body.String()
			if w.Code != c.code {
				t.Errorf("code %d, want %d", w.Code, c.code)
			}
			for _, x := range c.want {
				if !strings.Contains(body, x) {
					t.Errorf("without %q:\n%s", x, body)
				}
			}
			for _, x := range append(c.not, "<script>document", "<img", " style=", "onclick", "http://", "https://") {
				if strings.Contains(strings.ReplaceAll(body, "http://www.w3.org/", ""), x) {
					t.Errorf("with %q:\n%s", x, body)
				}
			}
			if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
				t.Errorf("the policy is %q", csp)
			}
		})
	}
}

// TestNothingCanBeChanged: only reading is answered, and giving a token.
func TestNothingCanBeChanged(t *testing.T) {
	p := started(t, sample(1), nil)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{"/", "/services", "/services/office/mail"} {
			if w := ask(p, method, path); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
	foreign := ask(p, "POST", "/login", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if foreign.Code != http.StatusForbidden {
		t.Errorf("a form of another site: %d", foreign.Code)
	}
}

// TestLocalNamesOnly: without login, a name that somebody else lets point to this machine is not answered.
func TestLocalNamesOnly(t *testing.T) {
	p := started(t, sample(1), nil)
	for host, code := range map[string]int{"localhost": 200, "localhost:7952": 200, "127.0.0.1:7952": 200, "[::1]:7952": 200, "evil.example:7952": 421, "10.0.0.1": 421, "": 421, "localhost.evil.example": 421} {
		if w := ask(p, "GET", "/", func(r *http.Request) { r.Host = host }); w.Code != code {
			t.Errorf("%q: %d, want %d", host, w.Code, code)
		}
	}
}

// TestWhoMayLook: the API server decides, by a token in a header or in a cookie; it is asked once a minute.
func TestWhoMayLook(t *testing.T) {
	asked := 0
	review := func(_ context.Context, token string) (string, bool, error) {
		asked++
		switch token {
		case "good":
			return "viewer", true, nil
		case "poor":
			return "nobody", false, nil
		case "down":
			return "", false, errors.New("no connection")
		}
		return "", false, nil
	}
	p := started(t, sample(1), review)
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for token, c := range map[string]struct {
		code int
		says string
	}{
		"good":                     {200, "without an address"},
		"poor":                     {403, "nobody may not look at this page: ask for the ClusterRole fairlead-viewer"},
		"down":                     {503, "could not be asked"},
		"other":                    {401, "does not know that token"},
		strings.Repeat("x", 1<<20): {401, "does not know that token"},
		"":                         {401, "Log in"},
	} {
		w := ask(p, "GET", "/", bearer(token))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) || c.code != 200 && strings.Contains(w.Body.String(), "office/") {
			t.Errorf("%.9q: %d, want %d\n%s", token, w.Code, c.code, w.Body)
		}
	}
	before := asked
	form := func(r *http.Request) {
		*r = *httptest.NewRequest("POST", "/login", strings.NewReader("token=good"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := ask(p, "POST", "/login", form)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusSeeOther || len(cookies) != 1 || !cookies[0].HttpOnly || !cookies[0].Secure || cookies[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("%d %v", w.Code, cookies)
	}
	if w := ask(p, "GET", "/services", func(r *http.Request) { r.AddCookie(cookies[0]) }); w.Code != 200 {
		t.Error(w.Code)
	}
	if asked != before {
		t.Errorf("asked %d times more", asked-before)
	}
	p.Now = func() time.Time { return at.Add(2 * time.Minute) }
	if ask(p, "GET", "/", bearer("good")); asked != before+1 {
		t.Error("a right is not asked for anew")
	}
	if w := ask(p, "GET", "/assets/style.css"); w.Code != 200 {
		t.Errorf("the style of the login: %d", w.Code)
	}
}

// TestUnchanged: what did not change is not sent again.
func TestUnchanged(t *testing.T) {
	p := started(t, sample(1), nil)
	tag := ask(p, "GET", "/").Header().Get("ETag")
	again := func(r *http.Request) { r.Header.Set("If-None-Match", tag) }
	if w := ask(p, "GET", "/", again); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Error(w.Code)
	}
	p.Now = func() time.Time { return at.Add(time.Second) }
	p.refresh(t.Context(), &History{Every: calm})
	if w := ask(p, "GET", "/", again); w.Code != 200 {
		t.Error(w.Code)
	}
}

// TestFailure: a cluster that cannot be read any more is shown as it was, with the reason; before it was read once, the page
// says so.
func TestFailure(t *testing.T) {
	p := started(t, sample(1), nil)
	p.Source = func(context.Context) (*explain.View, error) { return nil, errors.New("no connection") }
	p.refresh(t.Context(), &History{})
	if w := ask(p, "GET", "/"); w.Code != 200 || !strings.Contains(w.Body.String(), "could not be read since: no connection") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	p.now.Store(nil)
	for _, why := range []string{"", "It could not be read yet: no connection"} {
		for _, path := range []string{"/", "/services/a/b"} {
			w := ask(p, "GET", path)
			text := w.Body.String()
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(text, "Reading the cluster") || strings.Contains(text, "no connection") != (why != "") || !strings.Contains(text, why) {
				t.Errorf("%d %s", w.Code, text)
			}
		}
		p.refresh(t.Context(), &History{})
	}
	p.failed.Store(nil)
	p.began = at.Add(-time.Minute)
	if w := ask(p, "GET", "/"); !strings.Contains(w.Body.String(), "it needs the rights of config/rbac/status.yaml") {
		t.Error(w.Body)
	}
}

// TestHistory: it covers all the time since the start in a bounded number of points, however long that is.
func TestHistory(t *testing.T) {
	h := History{Every: calm}
	start := at
	for i := range 100_000 {
		h.note(start.Add(time.Duration(i)*calm), []explain.PoolStatus{{Name: "p", IPv4: explain.Count{Assigned: int64(i)}}})
		if len(h.Times) > maxPoints || len(h.Pools["p"]) != len(h.Times) {
			t.Fatal(i, len(h.Times), len(h.Pools["p"]))
		}
	}
	if !h.Times[0].Equal(start) || h.Pools["p"][0] != 0 || len(h.Times) < maxPoints/2 {
		t.Error(h.Times[0], len(h.Times))
	}
	h.note(start.Add(1<<53), []explain.PoolStatus{{Name: "q"}})
	if len(h.Pools) != 1 || len(h.Pools["q"]) != len(h.Times) {
		t.Error("a pool that is gone is kept, or a new one has another length")
	}
}

// TestHeadings: every page has one first heading, labels for its fields and scopes for its columns.
func TestHeadings(t *testing.T) {
	p := started(t, sample(3), nil)
	for _, path := range []string{"/", "/services", "/services/office/mail", "/services/a/b", "/login"} {
		body := ask(p, "GET", path).Body.String()
		if n := strings.Count(body, "<h1"); n != 1 {
			t.Errorf("%s has %d first headings", path, n)
		}
		for _, x := range []string{`<html lang="en">`, `<main id="main"`, `href="#main"`, "<title>"} {
			if !strings.Contains(body, x) {
				t.Errorf("%s is without %s", path, x)
			}
		}
		if bad := regexp.MustCompile(`<th>|<th class`).FindString(body); bad != "" {
			t.Errorf("%s: %s without a scope", path, bad)
		}
	}
}

// TestRun: it looks again when somebody looks at the page, and ends with its context.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := started(t, sample(1), nil)
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// BenchmarkFirstView is the first page, the table, and explanations, at 10,000 Services.
func BenchmarkFirstView(b *testing.B) {
	p := started(b, sample(10_000), nil)
	for name, path := range map[string]string{"overview": "/", "services": "/services", "sorted": "/services?sort=-address&q=service", "service": "/services/team-0/service-00000", "pool": "/pools/public", "node": "/nodes/worker-1"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if w := ask(p, "GET", path); w.Code != 200 {
					b.Fatal(w.Code)
				}
			}
		})
	}
	b.Run("refresh", func(b *testing.B) {
		h := History{Every: calm}
		for b.Loop() {
			p.refresh(b.Context(), &h)
		}
	})
}
