package controllers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// The objects by which the API server finds and trusts the webhooks (config/webhook).
const (
	// WebhookSecret holds the certificate.
	WebhookSecret = "fairlead-webhook-cert"
	// WebhookService is the Service by which the API server reaches every replica.
	WebhookService = "fairlead-webhook"
	// WebhookConfiguration is the ValidatingWebhookConfiguration.
	WebhookConfiguration = "fairlead-webhook-configuration"
)

// authorityKey is the Secret's entry with what the API server is to trust.
const authorityKey = "ca.crt"

// A certificate lasts for certificateLife and is replaced certificateLookahead before its end; its age is looked at
// every certificateCheck. It is valid from certificateSlack before now, for clocks that are behind.
const (
	certificateLife      = 365 * 24 * time.Hour
	certificateLookahead = 90 * 24 * time.Hour
	certificateCheck     = 12 * time.Hour
	certificateSlack     = time.Hour
)

// serving is the certificate that this replica's webhooks prove themselves with, as the Secret has it. It is held in
// memory; while the Secret is bad or gone, the last good one goes on.
type serving struct {
	client client.Reader
	log    *slog.Logger
	secret client.ObjectKey
	now    atomic.Pointer[tls.Certificate]
}

// Reconcile reads the Secret.
func (s *serving) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var secret corev1.Secret
	if err := s.client.Get(ctx, s.secret, &secret); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		s.log.Warn("the webhooks' certificate is bad; the leader replaces it", "secret", s.secret.String(), "err", err)
		return reconcile.Result{}, nil
	}
	if old := s.now.Swap(&pair); old == nil || !old.Leaf.Equal(pair.Leaf) {
		s.log.Info("the webhooks serve with the certificate of the Secret", "secret", s.secret.String(), "until", pair.Leaf.NotAfter)
	}
	return reconcile.Result{}, nil
}

var errNoCertificate = errors.New("the webhooks have no certificate yet: the leader puts it into the Secret " + WebhookSecret)

// certificate is what a TLS server asks for.
func (s *serving) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.now.Load(); c != nil {
		return c, nil
	}
	return nil, errNoCertificate
}

// ready is a readiness check.
func (s *serving) ready(*http.Request) error {
	_, err := s.certificate(nil)
	return err
}

// rotation keeps the certificate valid and makes the API server trust it; the leader alone does that. Every certificate
// has an authority of its own, whose key is thrown away at once: nothing else can ever be signed with it.
type rotation struct {
	client        client.Client
	uncached      client.Reader // a Secret that the cache does not show yet must not be replaced
	log           *slog.Logger
	secret        client.ObjectKey
	configuration string   // name of the ValidatingWebhookConfiguration
	definition    string   // name of the CustomResourceDefinition of BGPPeers
	names         []string // by which the API server calls
	now           func() time.Time
}

// Reconcile replaces a certificate that is bad or old, and restores the trust in it.
func (r *rotation) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var secret corev1.Secret
	if err := r.uncached.Get(ctx, r.secret, &secret); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading the Secret %s: %w", r.secret, err)
	}
	if !r.valid(&secret) {
		if err := r.renew(ctx, &secret); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: certificateCheck}, r.trust(ctx, secret.Data[authorityKey])
}

// valid says whether the certificate is one for our names that its authority signed, and lasts long enough.
func (r *rotation) valid(s *corev1.Secret) bool {
	for _, name := range r.names {
		ok, err := rotator.ValidCert(s.Data[authorityKey], s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey],
			name, &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, r.now().Add(certificateLookahead))
		if !ok || err != nil {
			return false
		}
	}
	return true
}

// renew makes another certificate. The API server trusts the old one and the new one before the new one comes into use,
// so that no call fails meanwhile. Of two leaders that do this at the same time, one fails and tries again.
func (r *rotation) renew(ctx context.Context, s *corev1.Secret) error {
	made := rotator.CertRotator{
		CAName: "fairlead-webhook-ca", CAOrganization: "fairlead", DNSName: r.names[0], ExtraDNSNames: r.names[1:],
		ExtKeyUsages: &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	from, to := r.now().Add(-certificateSlack), r.now().Add(certificateLife)
	authority, err := made.CreateCACert(from, to)
	if err != nil {
		return fmt.Errorf("making the webhooks' certificate: %w", err)
	}
	certificate, key, err := made.CreateCertPEM(authority, from, to)
	if err != nil {
		return fmt.Errorf("making the webhooks' certificate: %w", err)
	}
	bundle := append(authority.CertPEM, first(s.Data[authorityKey])...)
	if err := r.trust(ctx, bundle); err != nil {
		return err
	}
	s.Data = map[string][]byte{authorityKey: bundle, corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}
	if s.UID == "" {
		s.ObjectMeta = metav1.ObjectMeta{Namespace: r.secret.Namespace, Name: r.secret.Name}
		s.Type = corev1.SecretTypeTLS
		err = r.client.Create(ctx, s)
	} else {
		err = r.client.Update(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("writing the Secret %s: %w", r.secret, err)
	}
	r.log.Info("the webhooks have a new certificate", "secret", r.secret.String(), "until", to)
	return nil
}

// first returns the first certificate of a bundle in PEM form, the newest one, or nothing.
func first(bundle []byte) []byte {
	block, _ := pem.Decode(bundle)
	if block == nil {
		return nil
	}
	return pem.EncodeToMemory(block)
}

// trust makes the API server trust just these authorities, in both kinds of calls.
func (r *rotation) trust(ctx context.Context, bundle []byte) error {
	return errors.Join(r.trustValidation(ctx, bundle), r.trustConversion(ctx, bundle))
}

func (r *rotation) trustValidation(ctx context.Context, bundle []byte) error {
	var have admissionregistrationv1.ValidatingWebhookConfiguration
	err := r.client.Get(ctx, client.ObjectKey{Name: r.configuration}, &have)
	if apierrors.IsNotFound(err) {
		r.log.Info("the API server does not call the webhooks: there is no ValidatingWebhookConfiguration", "name", r.configuration)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the ValidatingWebhookConfiguration %s: %w", r.configuration, err)
	}
	want, same := have.DeepCopy(), true
	for i := range want.Webhooks {
		c := &want.Webhooks[i].ClientConfig
		same = same && bytes.Equal(c.CABundle, bundle)
		c.CABundle = bundle
	}
	if same {
		return nil
	}
	if err := r.client.Patch(ctx, want, client.StrategicMergeFrom(&have)); err != nil {
		return fmt.Errorf("writing the ValidatingWebhookConfiguration %s: %w", r.configuration, err)
	}
	r.log.Info("the API server trusts the webhooks' certificate now", "name", r.configuration)
	return nil
}

// trustConversion does nothing where BGPPeers are not converted.
func (r *rotation) trustConversion(ctx context.Context, bundle []byte) error {
	var d apiextensionsv1.CustomResourceDefinition
	if err := r.client.Get(ctx, client.ObjectKey{Name: r.definition}, &d); err != nil {
		return client.IgnoreNotFound(err)
	}
	c := d.Spec.Conversion
	if c == nil || c.Webhook == nil || c.Webhook.ClientConfig == nil || bytes.Equal(c.Webhook.ClientConfig.CABundle, bundle) {
		return nil
	}
	patch := fmt.Appendf(nil, `{"spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":%q}}}}}`, base64.StdEncoding.EncodeToString(bundle))
	if err := r.client.Patch(ctx, d.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("writing the CustomResourceDefinition %s: %w", r.definition, err)
	}
	r.log.Info("the API server trusts the webhooks' certificate now", "name", r.definition)
	return nil
}
