package statuspage

// This file holds who may look. Programs send a token with every request; people give it once, and their browser keeps it in
// a cookie that no script can read.

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Review asks the API server whose token it is ("": nobody's), and whether they may look.
type Review func(ctx context.Context, token string) (user string, may bool, err error)

// admission is what the API server said of a token.
type admission struct {
	user  string
	may   bool
	until time.Time
}

const (
	cookieName   = "__Host-fairlead" // browsers take it from this host over TLS alone
	maxToken     = 16 << 10          // bytes
	maxAdmission = time.Minute       // a right that is withdrawn ends that late
	maxKnown     = 1000
	maxReviews   = 8 // that are under way
)

// doors remembers what the API server said, by the tokens' hashes.
type doors struct {
	sync.Mutex
	known   map[[32]byte]admission
	reviews int
}

// userKey is where the context has the user's name.
type userKey struct{}

// guarded lets those in who may look.
func (p *Page) guarded(next http.Handler) http.Handler {
	if p.Review == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if c, err := r.Cookie(cookieName); !ok && err == nil {
			token = c.Value
		}
		if a, ok := p.admitted(w, r, token); ok {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, a.user)))
		}
	})
}

// admitted asks about a token; if it is none that may look, the answer is written.
func (p *Page) admitted(w http.ResponseWriter, r *http.Request, token string) (admission, bool) {
	if token == "" {
		p.login(w, http.StatusUnauthorized, "")
		return admission{}, false
	}
	a, err := p.review(r.Context(), token)
	switch {
	case err != nil:
		p.Log.Warn("asking the API server who looks at the status page", "error", err)
		p.login(w, http.StatusServiceUnavailable, "The API server could not be asked whose token that is. Try again in a moment.")
	case a.user == "":
		p.login(w, http.StatusUnauthorized, "The API server does not know that token, or it has expired.")
	case !a.may:
		p.login(w, http.StatusForbidden, a.user+" may not look at this page: ask for the ClusterRole fairlead-viewer.")
	default:
		return a, true
	}
	return a, false
}

// busyError says that too many tokens are asked about at once.
type busyError struct{}

// Error says so.
func (busyError) Error() string { return "too many tokens are being asked about" }

// review returns what the API server says of a token, or said a short time ago.
func (p *Page) review(ctx context.Context, token string) (admission, error) {
	if len(token) > maxToken {
		return admission{}, nil
	}
	key, now := sha256.Sum256([]byte(token)), p.Now()
	d := &p.doors
	d.Lock()
	if a, ok := d.known[key]; ok && now.Before(a.until) {
		d.Unlock()
		return a, nil
	}
	if d.reviews >= maxReviews {
		d.Unlock()
		return admission{}, busyError{}
	}
	d.reviews++
	d.Unlock()
	user, may, err := p.Review(ctx, token)
	d.Lock()
	defer d.Unlock()
	d.reviews--
	if err != nil {
		return admission{}, err
	}
	if len(d.known) >= maxKnown {
		clear(d.known)
	}
	a := admission{user, may, now.Add(maxAdmission)}
	d.known[key] = a
	return a, nil
}

func (p *Page) login(w http.ResponseWriter, code int, message string) {
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	p.render(w, code, "login", frame{Title: "Log in", Version: p.Version, Body: message})
}

// enter takes a token from a form.
func (p *Page) enter(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 2*maxToken)
	token := strings.TrimSpace(r.PostFormValue("token"))
	if p.Review != nil {
		if _, ok := p.admitted(w, r, token); !ok {
			return
		}
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: token, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// leave makes the browser forget the token.
func (p *Page) leave(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
