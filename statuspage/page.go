// Package statuspage serves the status page: the cluster at a glance, its Services, and the explanation of each object, as
// HTML that needs no script. It reads nothing itself and decides nothing: it renders what package explain says of a View.
package statuspage

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/a-h/templ"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/internal/tokens"
)

//go:embed assets
var files embed.FS

// Page is the status page. Run keeps what it shows up to date; ServeHTTP may be called at any time.
type Page struct {
	Source func(context.Context) (*explain.View, error)
	// Review says whose token it is, and whether that may look; nil: everybody may, which only local connections can be.
	Review  tokens.Ask
	Log     *slog.Logger
	Version string
	Now     func() time.Time

	now      atomic.Pointer[snapshot]
	failed   atomic.Pointer[string] // why there is no snapshot yet; nil: it is being made
	wanted   chan struct{}          // of one: somebody looks
	began    time.Time
	reviewer tokens.Reviewer
	handler  http.Handler
}

// Start prepares the page; it comes before everything else.
func (p *Page) Start() error {
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		return err
	}
	p.wanted, p.began = make(chan struct{}, 1), p.Now()
	p.reviewer = tokens.Reviewer{Ask: p.Review, Now: func() time.Time { return p.Now() }}
	looks := http.NewServeMux()
	looks.HandleFunc("GET /{$}", p.overview)
	looks.HandleFunc("GET /services", p.services)
	for path, ask := range map[string]func(*explain.View, *http.Request) (explain.Explanation, error){
		"services/{namespace}/{name}": func(v *explain.View, r *http.Request) (explain.Explanation, error) {
			return explain.OfService(v, allocator.Key{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")})
		},
		"addresses/{name}": func(v *explain.View, r *http.Request) (explain.Explanation, error) {
			a, err := netip.ParseAddr(r.PathValue("name"))
			if err != nil || a.Zone() != "" {
				return explain.Explanation{}, fmt.Errorf("%q is not an IP address", r.PathValue("name"))
			}
			return explain.OfAddress(v, a.Unmap()), nil
		},
		"pools/{name}": func(v *explain.View, r *http.Request) (explain.Explanation, error) {
			return explain.OfPool(v, r.PathValue("name"))
		},
		"nodes/{name}": func(v *explain.View, r *http.Request) (explain.Explanation, error) {
			return explain.OfNode(v, r.PathValue("name"))
		},
		"peers/{name}": func(v *explain.View, r *http.Request) (explain.Explanation, error) {
			return explain.OfPeer(v, r.PathValue("name"))
		},
	} {
		looks.HandleFunc("GET /"+path, p.explained(ask))
	}
	all := http.NewServeMux()
	all.Handle("GET /assets/", http.StripPrefix("/assets/", cached(http.FileServerFS(assets))))
	all.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) { p.login(w, r, http.StatusOK, "") })
	all.HandleFunc("POST /login", p.enter)
	all.HandleFunc("POST /logout", p.leave)
	all.Handle("/", p.guarded(looks))
	p.handler = safe(http.NewCrossOriginProtection().Handler(all))
	return nil
}

// ServeHTTP serves the page.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.Review == nil && !local(r.Host) {
		http.Error(w, "this page is for local connections: open it as http://localhost", http.StatusMisdirectedRequest)
		return
	}
	p.handler.ServeHTTP(w, r)
}

// local says whether a Host header names this machine itself. Another one may be a name that somebody lets point here, so
// that a browser takes this page for theirs.
func local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && a.IsLoopback()
}

// safe sets the headers that keep a browser from doing what the page does not mean.
func safe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// cached lets a browser keep what changes with the version only.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		next.ServeHTTP(w, r)
	})
}

// patience is how long the first reading may take until people are told where to look.
const patience = 10 * time.Second

// frame is what every page has.
type frame struct {
	Title   string
	At      string // which part of the site it is, or ""
	Version string
	User    string
	Login   bool // there is somebody to log out
	Now     *snapshot
}

// The parts of the site.
const (
	atOverview = "overview"
	atServices = "services"
)

// show renders a page about the cluster as it is now.
func (p *Page) show(w http.ResponseWriter, r *http.Request, title, at string, code int, body func(*snapshot) templ.Component) {
	now := p.look()
	if now == nil {
		w.Header().Set("Refresh", "1")
		reason := ""
		switch why := p.failed.Load(); {
		case why != nil:
			reason = *why
		case p.Now().Sub(p.began) > patience:
			reason = "the controller's log says what it waits for; it needs the rights of config/rbac/status.yaml"
		}
		p.render(w, r, http.StatusServiceUnavailable, frame{Title: "Reading the cluster"}, waitPage(reason))
		return
	}
	tag := `"` + strconv.FormatInt(now.At.UnixNano(), 36) + `"`
	w.Header().Set("ETag", tag)
	if code == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	user, _ := r.Context().Value(userKey{}).(string)
	p.render(w, r, code, frame{Title: title, At: at, User: user, Login: p.Review != nil, Now: now}, body(now))
}

func (p *Page) render(w http.ResponseWriter, r *http.Request, code int, f frame, body templ.Component) {
	f.Version = p.Version
	templ.Handler(framed(f, body), templ.WithStatus(code)).ServeHTTP(w, r)
}

func (p *Page) overview(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, "Overview", atOverview, http.StatusOK, func(s *snapshot) templ.Component { return overviewPage(s.At, s.overview()) })
}

func (p *Page) services(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, "Services", atServices, http.StatusOK, func(s *snapshot) templ.Component { return servicesPage(s.At, s.services(r.URL.Query())) })
}

// explained serves the explanation of one object.
func (p *Page) explained(ask func(*explain.View, *http.Request) (explain.Explanation, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		now := p.now.Load()
		if now == nil {
			p.show(w, r, "", "", http.StatusOK, nil)
			return
		}
		e, err := ask(now.View, r)
		if err != nil {
			p.show(w, r, "Not found", "", http.StatusNotFound, func(*snapshot) templ.Component { return absentPage(err.Error()) })
			return
		}
		p.show(w, r, e.Kind+" "+e.Name, "", http.StatusOK, func(*snapshot) templ.Component { return explanationPage(e) })
	}
}
