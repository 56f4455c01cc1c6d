package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/lint"
	"github.com/fairlead-lb/fairlead/policy"
)

// shutdown is how long what runs may take to end after SIGTERM.
const shutdown = 1800 * time.Millisecond

// defaultNamespace is where MetalLB's guides install, and so ours.
const defaultNamespace = "metallb-system"

// common are the flags of every role that runs in a cluster.
type common struct {
	kubeconfig, namespace, class string
	apiServer                    string // URL; empty: as the cluster or kubeconfig says
	podName, podUID              string
	metrics, health              string
	secureMetrics                bool
	logFormat, logLevel          string
	qps                          float32
	burst                        int
}

func (c *common) register(f *pflag.FlagSet) {
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "`file` that says how to reach the API server; in a pod's own cluster it is not needed")
	f.StringVar(&c.namespace, "namespace", defaultNamespace, "namespace of the configuration objects and of Fairlead itself")
	f.StringVar(&c.class, "lb-class", "", "serve only Services whose spec.loadBalancerClass is this one; empty: only those without a class")
	f.StringVar(&c.podName, "pod-name", "", "name of the pod that this is; with --pod-uid, the ConfigurationState object goes when the pod does")
	f.StringVar(&c.podUID, "pod-uid", "", "UID of the pod that this is")
	f.StringVar(&c.metrics, "metrics-bind-address", ":7948", "`address` that serves Prometheus metrics at /metrics; 0: none")
	f.BoolVar(&c.secureMetrics, "secure-metrics", false, "serve metrics by HTTPS, to those alone whose token the API server knows and who may get /metrics; needs config/rbac/metrics.yaml")
	f.StringVar(&c.health, "health-probe-bind-address", ":7949", "`address` that serves /healthz and /readyz; 0: none")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.Float32Var(&c.qps, "kube-api-qps", 1000, "requests a second to the API server, on average")
	f.IntVar(&c.burst, "kube-api-burst", 2000, "requests to the API server at once, above the average")
}

// serviceNodePorts is the flag that says which ports the API server gives itself.
type serviceNodePorts string

const serviceNodePortsFlag = "service-node-port-range"

func (s *serviceNodePorts) register(flags *pflag.FlagSet) {
	flags.StringVar((*string)(s), serviceNodePortsFlag, policy.DefaultServiceNodePorts().Span(), "`ports` that the API server gives itself, as its flag of this name says; no NodePortRange may have them")
}

func (s serviceNodePorts) read() (portrange.Range, error) {
	r, err := portrange.ParseSpan(string(s))
	if err != nil {
		return r, fmt.Errorf("--%s: %w", serviceNodePortsFlag, err)
	}
	return r, nil
}

// linter returns what checks manifests for a cluster with such an API server.
func (s serviceNodePorts) linter() (*lint.Linter, error) {
	own, err := s.read()
	if err != nil {
		return nil, usageError{err}
	}
	l, err := lint.New()
	if err == nil {
		l.ServiceNodePorts = own
	}
	return l, err
}

// flagsFromEnvironment sets each flag that the command line does not set from its environment variable: --node-name
// from FAIRLEAD_NODE_NAME.
func flagsFromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "FAIRLEAD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := lookup(name)
		if f.Changed || !ok || f.Name == "help" || f.Name == "version" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
		}
	})
	return errors.Join(errs...)
}

// collectAt has garbage collected when the heap has grown by that many percent, unless the environment's GOGC says when.
func collectAt(percent int) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(percent)
	}
}

// logger returns the logger that the flags ask for, and makes the Kubernetes libraries use it.
func (c *common) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", c.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler
	switch c.logFormat {
	case "text":
		h = slog.NewTextHandler(w, options)
	case "json":
		h = slog.NewJSONHandler(w, options)
	default:
		return nil, fmt.Errorf("--log-format %q: want text or json", c.logFormat)
	}
	ctrl.SetLogger(logr.FromSlogHandler(h))
	klog.SetSlogLogger(slog.New(h))
	return slog.New(h), nil
}

// manager returns a manager that watches what Fairlead needs; the role adds its own options. It waits for an API server
// that cannot be reached or does not serve the kinds yet, as after the start of a whole cluster.
func (c *common) manager(ctx context.Context, log *slog.Logger, role func(*manager.Options)) (manager.Manager, error) {
	config, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	options, err := controllers.ManagerOptions(c.namespace)
	if err != nil {
		return nil, err
	}
	options.Metrics.BindAddress = c.metrics
	if c.secureMetrics {
		controllers.SecureMetrics(&options.Metrics, log)
	}
	options.HealthProbeBindAddress = c.health
	grace := shutdown
	options.GracefulShutdownTimeout = &grace
	role(&options)
	var m manager.Manager
	for said := ""; ; {
		if m, err = manager.New(config, options); err == nil {
			break
		}
		if why := cause(err); why != said && ctx.Err() == nil {
			said = why
			log.Warn("waiting for the API server", "address", config.Host, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return m, nil
}

// cause returns the text of the innermost error; what is around it names whichever kind was asked for first.
func cause(err error) string {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}

// restConfig says how to reach the API server: by --kubeconfig, else as a pod of the cluster.
func (c *common) restConfig() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if c.kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("no way to the API server (outside a cluster, give --kubeconfig): %w", err)
	}
	config.Host = cmp.Or(c.apiServer, config.Host)
	config.QPS, config.Burst = c.qps, c.burst
	config.UserAgent = "fairlead/" + version
	return config, nil
}

// client returns a client without a cache.
func (c *common) client() (client.Client, error) {
	config, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	scheme, err := controllers.NewScheme()
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}
