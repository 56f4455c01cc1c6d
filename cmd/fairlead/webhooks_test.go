package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/fairlead-lb/fairlead/internal/portrange"
)

func TestWebhookFlags(t *testing.T) {
	for name, c := range map[string]struct {
		flags webhookFlags
		on    bool
		err   string
	}{
		"off":                 {flags: webhookFlags{mode: "off"}},
		"on":                  {flags: webhookFlags{mode: "on", address: ":7945"}, on: true},
		"on, protected":       {flags: webhookFlags{mode: "on", address: "[::1]:7945", protect: "refuse"}, on: true},
		"neither on nor off":  {flags: webhookFlags{mode: "true"}, err: `--webhooks "true": want on or off`},
		"no port":             {flags: webhookFlags{mode: "on", address: "::1"}, err: `--webhook-bind-address "::1": want an address and a port, such as :7945`},
		"port 0":              {flags: webhookFlags{mode: "on", address: ":0"}, err: "--webhook-bind-address"},
		"no such protection":  {flags: webhookFlags{mode: "on", address: ":1", protect: "no"}, err: `--protect-pools "no": want refuse, warn or off`},
		"not even when it is": {flags: webhookFlags{mode: "off", protect: "no"}, err: "--protect-pools"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.flags.webhooks(slog.New(slog.DiscardHandler), "metallb-system", "", portrange.Range{})
			if (got != nil) != c.on || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
