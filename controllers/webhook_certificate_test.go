package controllers

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// rotating is a rotation with a clock to set, and what it wrote.
type rotating struct {
	*testing.T
	rotation
	at     time.Time
	writes []string
}

func newRotating(t *testing.T) *rotating {
	scheme, err := NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	r := &rotating{T: t, at: time.Now()}
	note := func(verb string, o client.Object) { r.writes = append(r.writes, verb+" "+o.GetName()) }
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(&admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: WebhookConfiguration},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "a.fairlead.io"}, {Name: "b.fairlead.io"}},
	}).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			note("create", o)
			o.SetUID(types.UID("1")) // as the API server does
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			note("update", o)
			return c.Update(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			note("patch", o)
			return c.Patch(ctx, o, p, opts...)
		},
	}).Build()
	r.rotation = rotation{
		client: c, uncached: c, log: slog.New(slog.DiscardHandler), secret: client.ObjectKey{Namespace: home, Name: WebhookSecret},
		configuration: WebhookConfiguration, definition: bgppeersDefinition, names: []string{"fairlead-webhook.metallb-system.svc"},
		now: func() time.Time { return r.at },
	}
	return r
}

// pass reconciles once, checks what was written, and returns the Secret.
func (r *rotating) pass(writes ...string) map[string][]byte {
	r.Helper()
	r.writes = nil
	if _, err := r.Reconcile(r.Context(), reconcile.Request{}); err != nil {
		r.Fatal(err)
	}
	if !slices.Equal(r.writes, writes) {
		r.Errorf("wrote %q, want %q", r.writes, writes)
	}
	var s corev1.Secret
	if err := r.client.Get(r.Context(), r.secret, &s); err != nil {
		r.Fatal(err)
	}
	var v admissionregistrationv1.ValidatingWebhookConfiguration
	if err := r.client.Get(r.Context(), client.ObjectKey{Name: WebhookConfiguration}, &v); err != nil {
		r.Fatal(err)
	}
	for _, w := range v.Webhooks {
		if !bytes.Equal(w.ClientConfig.CABundle, s.Data[authorityKey]) {
			r.Errorf("%s trusts something else than what the Secret has", w.Name)
		}
	}
	return s.Data
}

// TestACertificateIsReplacedInTime: trust comes before use, and the old authority stays trusted while the old certificate
// may still be in use. In between, nothing is written.
func TestACertificateIsReplacedInTime(t *testing.T) {
	r := newRotating(t)
	first := r.pass("patch "+WebhookConfiguration, "create "+WebhookSecret)
	if _, ok := first["ca.key"]; ok || len(first) != 3 {
		t.Error("the Secret holds more than it has to: the authority's key is to be thrown away")
	}
	r.pass()
	r.at = r.at.Add(certificateLife - certificateLookahead - time.Hour)
	r.pass()
	r.at = r.at.Add(2 * time.Hour)
	second := r.pass("patch "+WebhookConfiguration, "update "+WebhookSecret)
	if bytes.Equal(first[corev1.TLSCertKey], second[corev1.TLSCertKey]) || !bytes.HasSuffix(second[authorityKey], first[authorityKey]) {
		t.Error("the certificate is the old one, or the old authority is not trusted any more")
	}
	r.pass()
	r.at = r.at.Add(certificateLife)
	third := r.pass("patch "+WebhookConfiguration, "update "+WebhookSecret)
	if n := strings.Count(string(third[authorityKey]), "BEGIN CERTIFICATE"); n != 2 {
		t.Errorf("%d authorities are trusted, want the new one and the one before", n)
	}
	r.names = append(r.names, "localhost")
	r.pass("patch "+WebhookConfiguration, "update "+WebhookSecret)
	r.pass()
}
