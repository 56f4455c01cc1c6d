package statuspage

// This file holds who may look. Programs send a token with every request; people give it once, and their browser keeps it in
// a cookie that no script can read.

import (
	"context"
	"net/http"
	"strings"

	"github.com/fairlead-lb/fairlead/internal/tokens"
)

// cookieName is the cookie that keeps the token; browsers take it from this host over TLS alone.
const cookieName = "__Host-fairlead"

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
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, a.User)))
		}
	})
}

// admitted asks about a token; if it is none that may look, the answer is written.
func (p *Page) admitted(w http.ResponseWriter, r *http.Request, token string) (tokens.Answer, bool) {
	if token == "" {
		p.login(w, r, http.StatusUnauthorized, "")
		return tokens.Answer{}, false
	}
	a, err := p.reviewer.Review(r.Context(), token)
	switch {
	case err != nil:
		p.Log.Warn("asking the API server who looks at the status page", "error", err)
		p.login(w, r, http.StatusServiceUnavailable, "The API server could not be asked whose token that is. Try again in a moment.")
	case a.User == "":
		p.login(w, r, http.StatusUnauthorized, "The API server does not know that token, or it has expired.")
	case !a.May:
		p.login(w, r, http.StatusForbidden, a.User+" may not look at this page: ask for the ClusterRole fairlead-viewer.")
	default:
		return a, true
	}
	return a, false
}

func (p *Page) login(w http.ResponseWriter, r *http.Request, code int, message string) {
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	p.render(w, r, code, frame{Title: "Log in"}, loginPage(message))
}

// enter takes a token from a form.
func (p *Page) enter(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 2*tokens.MaxToken)
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
