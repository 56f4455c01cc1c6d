package controllers

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// elsewhereEvery is how often configuration objects outside the configuration namespace are looked for. Where the webhooks
// are on, there are no new ones.
const elsewhereEvery = time.Minute

// Elsewhere tells, by one Event each, the configuration objects outside the configuration namespace, which have no effect.
// The leader alone looks for them.
type Elsewhere struct {
	Uncached  client.Reader
	Events    events.EventRecorder
	Log       *slog.Logger
	Namespace string // of the configuration objects

	every time.Duration // elsewhereEvery, but in tests
	told  map[types.UID]struct{}
}

// SetUp registers it with the manager.
func (e *Elsewhere) SetUp(m ctrl.Manager) error { return m.Add(e) }

// Start looks until the context ends.
func (e *Elsewhere) Start(ctx context.Context) error {
	tick := time.NewTicker(cmp.Or(e.every, elsewhereEvery))
	defer tick.Stop()
	for {
		now := map[types.UID]struct{}{}
		for _, kind := range configurationKinds() {
			if err := e.look(ctx, kind, now); err != nil && ctx.Err() == nil {
				e.Log.Warn("configuration objects outside the configuration namespace cannot be looked for", "err", err)
			}
		}
		e.told = now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// configurationKinds are the kinds that the webhooks are asked about.
func configurationKinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, kind := range []string{"IPAddressPool", "L2Advertisement", "BGPAdvertisement", "BFDProfile", "Community"} {
		out = append(out, v1beta1.GroupVersion.WithKind(kind))
	}
	out = append(out, v1beta2.GroupVersion.WithKind("BGPPeer"))
	for _, kind := range []string{"AddressPolicy", "AddressReservation", "NodePortRange"} {
		out = append(out, v1alpha1.GroupVersion.WithKind(kind))
	}
	return out
}

// look tells the objects of one kind that were not told yet, and notes all of them.
func (e *Elsewhere) look(ctx context.Context, kind schema.GroupVersionKind, now map[types.UID]struct{}) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := e.Uncached.List(ctx, list, client.MatchingFieldsSelector{Selector: fields.OneTermNotEqualSelector("metadata.namespace", e.Namespace)})
	switch {
	case meta.IsNoMatchError(err): // the kind is not installed
		return nil
	case err != nil:
		return fmt.Errorf("listing every %s: %w", kind.Kind, err)
	}
	for i := range list.Items {
		o := &list.Items[i]
		now[o.UID] = struct{}{}
		if _, ok := e.told[o.UID]; ok {
			continue
		}
		message := fmt.Sprintf("%s %q in namespace %q has no effect: Fairlead reads its configuration in namespace %q only: create it there and delete it here",
			kind.Kind, o.Name, o.Namespace, e.Namespace)
		e.Log.Warn(message, "kind", kind.Kind, "object", o.Namespace+"/"+o.Name, "reason", verdict.WrongNamespace)
		o.SetGroupVersionKind(kind)
		record(e.Events, o, corev1.EventTypeWarning, verdict.WrongNamespace, "Compile", message)
	}
	return nil
}
