package controllers

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// validatePath is where the API server sends its questions (config/webhook).
const validatePath = "/validate"

// Webhooks are the controller's admission webhooks: their server on every replica, the certificate that it serves with,
// and what they answer. Configure comes before the manager is made, SetUp after that. Where Webhooks is nil, none are
// served.
type Webhooks struct {
	Host      string // that the server listens on; "" for all addresses
	Port      uint16
	Log       *slog.Logger
	Namespace string // of the configuration objects, and of the Service and the Secret
	Class     string // of the Services served; "" for those without a class
	Protect   Protection
	Now       func() time.Time
	// ServiceNodePorts is the API server's own range of node ports.
	ServiceNodePorts portrange.Range

	configuration string        // WebhookConfiguration, but in tests
	definition    string        // bgppeersDefinition, but in tests
	names         []string      // by which the API server calls, beside the Service's
	storageRest   time.Duration // storageRest, but in tests
	serving       serving
}

// Configure adds to a manager's options the server and what it needs to watch: one Secret, one
// ValidatingWebhookConfiguration and one CustomResourceDefinition, each by its name, so that rights for these suffice.
func (w *Webhooks) Configure(o *manager.Options) {
	if w == nil {
		return
	}
	w.configuration = cmp.Or(w.configuration, WebhookConfiguration)
	w.definition = cmp.Or(w.definition, bgppeersDefinition)
	o.WebhookServer = &webhookServer{
		Server:      webhook.NewServer(webhook.Options{}),
		address:     net.JoinHostPort(w.Host, strconv.Itoa(int(w.Port))),
		certificate: w.serving.certificate,
	}
	o.Cache.ByObject[&corev1.Secret{}] = cache.ByObject{Namespaces: map[string]cache.Config{w.Namespace: {FieldSelector: named(WebhookSecret)}}}
	o.Cache.ByObject[&admissionregistrationv1.ValidatingWebhookConfiguration{}] = cache.ByObject{Field: named(w.configuration)}
	o.Cache.ByObject[&apiextensionsv1.CustomResourceDefinition{}] = cache.ByObject{Field: named(w.definition), Transform: stripDefinition}
}

// webhookServer is controller-runtime's server but for its end: that one waits for connections over which nothing came yet,
// of which the API server may have one, for longer than a process may take.
type webhookServer struct {
	webhook.Server
	address     string
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	started     atomic.Bool
}

// webhookLinger is how long answers that are under way may take when the server ends.
const webhookLinger = time.Second

// Start serves until the context ends.
func (s *webhookServer) Start(ctx context.Context) error {
	l, err := tls.Listen("tcp", s.address, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, GetCertificate: s.certificate})
	if err != nil {
		return fmt.Errorf("listening for the API server's questions: %w", err)
	}
	server := &http.Server{Handler: s.WebhookMux(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second, MaxHeaderBytes: 1 << 20}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), webhookLinger)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}()
	s.started.Store(true)
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answering the API server's questions: %w", err)
	}
	<-ended
	return nil
}

// StartedChecker is a health check: whether the server listens.
func (s *webhookServer) StartedChecker() healthz.Checker {
	return func(*http.Request) error {
		if !s.started.Load() {
			return errors.New("the webhooks are not served yet")
		}
		return nil
	}
}

func named(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }

// SetUp registers the webhooks with the manager. All replicas serve, only the leader rotates; a replica is not ready
// before it has a certificate.
func (w *Webhooks) SetUp(m ctrl.Manager) error {
	if w == nil {
		return nil
	}
	serviceCIDRs, err := servesServiceCIDRs(m.GetRESTMapper())
	if err != nil {
		return err
	}
	m.GetWebhookServer().Register(validatePath, &webhook.Admission{Handler: &Validation{
		Client: m.GetClient(), Uncached: m.GetAPIReader(), Log: w.Log,
		Namespace: w.Namespace, Class: w.Class, Protect: w.Protect, Now: w.Now,
		ServiceCIDRs: serviceCIDRs, ServiceNodePorts: w.ServiceNodePorts,
	}})
	convert, err := conversions(m.GetScheme())
	if err != nil {
		return err
	}
	m.GetWebhookServer().Register(convertPath, convert)
	secret := client.ObjectKey{Namespace: w.Namespace, Name: WebhookSecret}
	w.serving.client, w.serving.log, w.serving.secret = m.GetClient(), w.Log, secret
	if err := run(m, "webhook-certificate", false, &w.serving, &corev1.Secret{}); err != nil {
		return err
	}
	r := &rotation{
		client: m.GetClient(), uncached: m.GetAPIReader(), log: w.Log, secret: secret, configuration: w.configuration, definition: w.definition, now: w.Now,
		names: append([]string{WebhookService + "." + w.Namespace + ".svc"}, w.names...),
	}
	if err := run(m, "webhook-rotation", true, r,
		&corev1.Secret{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}, &apiextensionsv1.CustomResourceDefinition{}); err != nil {
		return err
	}
	stored := &storage{client: m.GetClient(), uncached: m.GetAPIReader(), log: w.Log, definition: w.definition, rest: cmp.Or(w.storageRest, storageRest)}
	if err := run(m, "bgppeer-storage", true, stored, &apiextensionsv1.CustomResourceDefinition{}); err != nil {
		return err
	}
	return m.AddReadyzCheck("webhooks", w.serving.ready)
}

// run registers a controller with one work item, which its start and any change of the objects bring.
func run(m ctrl.Manager, name string, leader bool, r reconcile.Reconciler, of ...client.Object) error {
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(everything[0])
		return nil
	})
	b := ctrl.NewControllerManagedBy(m).Named(name).WithOptions(controller.Options{NeedLeaderElection: &leader}).WatchesRawSource(atStart)
	for _, o := range of {
		b = b.Watches(o, handler.EnqueueRequestsFromMapFunc(enqueueEverything))
	}
	return b.Complete(r)
}
