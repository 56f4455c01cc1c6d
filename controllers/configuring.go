package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
)

const (
	// labelManagedBy marks what Configuring has made, so that it can tell what is not wanted any more.
	labelManagedBy = "app.kubernetes.io/managed-by"
	// configuredBy is that label's value, and the owner of the fields.
	configuredBy = "fairlead-configure"
)

// ConfiguredKinds are the kinds that Configuring makes, in the order in which they are made: what others name comes first.
func ConfiguredKinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, kind := range []string{"Community", "BFDProfile", "IPAddressPool"} {
		out = append(out, v1beta1.GroupVersion.WithKind(kind))
	}
	out = append(out, v1beta2.GroupVersion.WithKind("BGPPeer"))
	for _, kind := range []string{"L2Advertisement", "BGPAdvertisement"} {
		out = append(out, v1beta1.GroupVersion.WithKind(kind))
	}
	return out
}

// Configuring makes the configuration objects of a namespace what is given, once: those that the chart's values name.
type Configuring struct {
	Client    client.Client
	Log       *slog.Logger
	Namespace string
	Every     time.Duration // between two attempts
}

// refusal is what somebody has to change something about before it can succeed.
type refusal struct{ error }

// Unwrap returns what was said.
func (r refusal) Unwrap() error { return r.error }

// Run applies the objects, and then deletes those that an earlier run has applied and that are not among them. Where nobody can
// say yet whether that may be, because the API server does not know the kinds or no controller answers for the webhooks, it
// tries again until the context ends. Fields that somebody else has set otherwise are not taken from them. It returns every
// refusal; where there is one, nothing is deleted.
func (c *Configuring) Run(ctx context.Context, objects []*unstructured.Unstructured) error {
	todo := slices.Clone(objects)
	slices.SortStableFunc(todo, func(a, b *unstructured.Unstructured) int { return order(a) - order(b) })
	for _, o := range todo {
		if order(o) < 0 {
			return fmt.Errorf("%s %q is not of a kind that can be configured", o.GetKind(), o.GetName())
		}
	}
	err := c.until(ctx, func() error {
		var errs []error
		before := len(todo)
		todo = slices.DeleteFunc(todo, func(o *unstructured.Unstructured) bool {
			err := c.apply(ctx, o)
			if err != nil {
				errs = append(errs, err)
			}
			return err == nil
		})
		if 0 < len(todo) && len(todo) < before {
			errs = append(errs, errors.New("what was refused may be allowed now")) // no refusal: try once more
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	return c.until(ctx, func() error { return c.prune(ctx, objects) })
}

// until tries until it succeeds, until nothing but refusals is left, or until the context ends.
func (c *Configuring) until(ctx context.Context, try func() error) error {
	for said := ""; ; {
		err := try()
		if err == nil || refusals(err) {
			return err
		}
		if why := err.Error(); why != said {
			c.Log.Info("waiting", "for", why)
			said = why
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("given up: %w", err)
		case <-time.After(c.Every):
		}
	}
}

// refusals says whether trying again without a change is in vain.
func refusals(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !refusals(e) })
	}
	var r refusal
	return errors.As(err, &r)
}

func (c *Configuring) apply(ctx context.Context, o *unstructured.Unstructured) error {
	o = o.DeepCopy()
	o.SetNamespace(c.Namespace)
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelManagedBy] = configuredBy
	o.SetLabels(labels)
	err := c.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(configuredBy))
	if err != nil {
		return judged(fmt.Errorf("applying %s %q: %w", o.GetKind(), o.GetName(), err))
	}
	c.Log.Info("applied", "kind", o.GetKind(), "name", o.GetName())
	return nil
}

// prune deletes what is marked as configured and is not wanted, advertisements before what they name.
func (c *Configuring) prune(ctx context.Context, wanted []*unstructured.Unstructured) error {
	var errs []error
	kinds := ConfiguredKinds()
	slices.Reverse(kinds)
	for _, kind := range kinds {
		var list metav1.PartialObjectMetadataList
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.Client.List(ctx, &list, client.InNamespace(c.Namespace), client.MatchingLabels{labelManagedBy: configuredBy}); err != nil {
			errs = append(errs, judged(fmt.Errorf("listing %s objects: %w", kind.Kind, err)))
			continue
		}
		for i := range list.Items {
			o := &list.Items[i]
			o.SetGroupVersionKind(kind)
			if slices.ContainsFunc(wanted, func(w *unstructured.Unstructured) bool { return w.GetKind() == kind.Kind && w.GetName() == o.Name }) {
				continue
			}
			if err := client.IgnoreNotFound(c.Client.Delete(ctx, o)); err != nil {
				errs = append(errs, judged(fmt.Errorf("deleting %s %q: %w", kind.Kind, o.Name, err)))
				continue
			}
			c.Log.Info("deleted", "kind", kind.Kind, "name", o.Name)
		}
	}
	return errors.Join(errs...)
}

// judged marks what the API server refuses for what was asked, and not for the time being. A right that is lacking may come,
// as roles are made at the same time.
func judged(err error) error {
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest, metav1.StatusReasonConflict:
		return refusal{err}
	case metav1.StatusReasonForbidden:
		if strings.Contains(err.Error(), "denied ") { // by admission
			return refusal{err}
		}
	}
	return err
}

// order returns the place of an object's kind in ConfiguredKinds; -1 where it has none.
func order(o *unstructured.Unstructured) int {
	return slices.Index(ConfiguredKinds(), o.GroupVersionKind())
}
