package main

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/internal/portrange"
)

// webhookFlags are the controller's flags for its admission webhooks. They are off unless they are asked for, since they
// need what config/webhook and config/rbac install: a Service by which the API server reaches this process, and the
// right to keep the certificate in a Secret.
type webhookFlags struct{ mode, address, protect string }

func (w *webhookFlags) register(f *pflag.FlagSet) {
	f.StringVar(&w.mode, "webhooks", "off", "on: check configuration objects before they are stored, which needs config/webhook; off: bad ones are told in Events only")
	f.StringVar(&w.address, "webhook-bind-address", ":7945", "`address` that serves the webhooks to the API server")
	f.StringVar(&w.protect, "protect-pools", "", "`what` becomes of a change that would take addresses from running Services: refuse, warn or off; unset: a deletion is refused, else a warning")
}

// webhooks returns what the flags ask for: nil where webhooks are off.
func (w *webhookFlags) webhooks(log *slog.Logger, namespace, class string, serviceNodePorts portrange.Range) (*controllers.Webhooks, error) {
	protect, err := controllers.ParseProtection(w.protect)
	if err != nil {
		return nil, fmt.Errorf("--protect-pools %w", err)
	}
	switch w.mode {
	case "on":
	case "off":
		return nil, nil
	default:
		return nil, fmt.Errorf("--webhooks %q: want on or off", w.mode)
	}
	host, text, err := net.SplitHostPort(w.address)
	port, bad := strconv.ParseUint(text, 10, 16)
	if err != nil || bad != nil || port == 0 {
		return nil, fmt.Errorf("--webhook-bind-address %q: want an address and a port, such as :7945", w.address)
	}
	return &controllers.Webhooks{
		Host: host, Port: uint16(port), Log: log, Namespace: namespace, Class: class, Protect: protect, Now: time.Now,
		ServiceNodePorts: serviceNodePorts,
	}, nil
}
