package controllers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/util/cert"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/statuspage"
)

// StatusPath is what who may look at the status page may get, as a nonResourceURL in a ClusterRole.
const StatusPath = "/fairlead/status"

// StatusPage serves the status page, on every replica, from the controller's caches. On a loopback address it speaks HTTP to
// everybody, which are those whom the API server lets forward a port; on any other one HTTPS, to those alone whose token the
// API server knows and who may get StatusPath.
type StatusPage struct {
	Address           string // host:port
	Certificate, Key  string // files; "": a certificate that signs itself, made at each start
	Namespace, Class  string
	Version           string
	Log               *slog.Logger
	page              *statuspage.Page
	manager           ctrl.Manager
	listener          net.Listener
	certificateOfSelf *tls.Certificate
}

// SetUp listens, and registers the page with the manager. Where StatusPage is nil, none is served.
func (s *StatusPage) SetUp(m ctrl.Manager) error {
	if s == nil {
		return nil
	}
	s.manager = m
	s.page = &statuspage.Page{Source: s.view, Log: s.Log, Version: s.Version, Now: time.Now}
	host, _, err := net.SplitHostPort(s.Address)
	if err != nil {
		return fmt.Errorf("the address of the status page: %w", err)
	}
	a, err := netip.ParseAddr(host)
	exposed := host != "localhost" && (err != nil || !a.IsLoopback())
	if exposed {
		if s.page.Review, err = asksFor(m.GetConfig(), StatusPath); err != nil {
			return err
		}
	}
	if err := s.page.Start(); err != nil {
		return fmt.Errorf("preparing the status page: %w", err)
	}
	if s.listener, err = net.Listen("tcp", s.Address); err != nil {
		return fmt.Errorf("listening for the status page: %w", err)
	}
	if exposed {
		if err := s.secure(host); err != nil {
			return err
		}
	}
	return m.Add(s)
}

// secure makes the page's connections TLS. Files are read for every connection, so that new ones count at once.
func (s *StatusPage) secure(host string) error {
	if s.Certificate == "" {
		certificate, key, err := cert.GenerateSelfSignedCertKey("fairlead-status", nil, []string{host, "localhost"})
		if err != nil {
			return fmt.Errorf("making the status page's certificate: %w", err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return fmt.Errorf("making the status page's certificate: %w", err)
		}
		s.certificateOfSelf = &pair
	}
	s.listener = tls.NewListener(s.listener, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: s.certificate})
	return nil
}

func (s *StatusPage) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.certificateOfSelf != nil {
		return s.certificateOfSelf, nil
	}
	pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the status page's certificate: %w", err)
	}
	return &pair, nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: whoever is asked answers.
func (s *StatusPage) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it serves until the context ends.
func (s *StatusPage) Start(ctx context.Context) error {
	server := &http.Server{
		Handler: s.page, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		if watch(ctx, s.manager.GetCache(), seen(), nil) == nil {
			_ = s.page.Run(ctx)
		}
		<-ctx.Done()
		_ = server.Close()
	}()
	s.Log.Info("the status page is served", "address", s.listener.Addr().String())
	err := server.Serve(s.listener)
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the status page: %w", err)
	}
	<-looked
	return nil
}

// seen are the kinds that the page is made of.
func seen() []client.Object {
	return []client.Object{
		&corev1.Service{}, &corev1.Namespace{}, &corev1.Node{}, &discoveryv1.EndpointSlice{}, &v1alpha1.SpeakerState{}, &v1alpha1.AddressClaim{},
		&v1beta1.ServiceL2Status{}, &v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{}, &v1beta1.BGPAdvertisement{}, &v1beta2.BGPPeer{}, &v1beta1.BFDProfile{}, &v1beta1.Community{},
		&v1alpha1.AddressPolicy{}, &v1alpha1.AddressReservation{}, &v1alpha1.NodePortRange{}, &v1alpha1.ProgrammerState{}, &corev1.ConfigMap{}, &coordinationv1.Lease{},
	}
}

func (s *StatusPage) view(ctx context.Context) (*explain.View, error) {
	return Observation{Client: s.manager.GetClient(), Namespace: s.Namespace, Class: s.Class, Version: s.Version, Now: time.Now()}.Read(ctx)
}
