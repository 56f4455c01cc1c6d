package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// patchStatus writes the status of a configuration object, provided that it is as it was read, and reads into out what it
// is then. It returns false where the object changed meanwhile: that is left to the next pass, which its change brings.
func (a *Allocation) patchStatus(ctx context.Context, o, out client.Object, status any) (bool, error) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion()},
		"status":   status,
	})
	if err != nil {
		return false, fmt.Errorf("rendering the status of %s %q: %w", kindOf(o), o.GetName(), err)
	}
	out.SetNamespace(o.GetNamespace())
	out.SetName(o.GetName())
	err = a.underLease(ctx, func(ctx context.Context) error {
		return a.Client.Status().Patch(ctx, out, client.RawPatch(types.MergePatchType, patch))
	})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		a.Log.Debug("the object changed before its status was written", "kind", kindOf(o), "object", o.GetName())
		return false, nil
	case err != nil:
		return false, fmt.Errorf("writing the status of %s %q: %w", kindOf(o), o.GetName(), err)
	}
	return true, nil
}

// writePolicies writes the conditions of the AddressPolicies that do not have them yet.
func (a *Allocation) writePolicies(ctx context.Context, objects []v1alpha1.AddressPolicy) error {
	var errs []error
	for i := range objects {
		o := &objects[i]
		k := slices.IndexFunc(a.policy.AddressPolicies, func(p policy.AddressPolicy) bool { return p.Name == o.Name })
		if k < 0 {
			continue
		}
		conditions := slices.Clone(o.Status.Conditions)
		changed := false
		for _, c := range a.policy.AddressPolicies[k].Conditions() {
			changed = a.setCondition(&conditions, c.Type, c.True, c.Verdict, o.Generation) || changed
		}
		if changed {
			_, err := a.patchStatus(ctx, o, &v1alpha1.AddressPolicy{}, map[string]any{"conditions": conditions})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeReservations writes the statuses of the AddressReservations that do not say yet what is held for whom.
func (a *Allocation) writeReservations(ctx context.Context, objects []v1alpha1.AddressReservation, bindings []allocator.Binding) error {
	var errs []error
	for i := range objects {
		o := &objects[i]
		k := slices.IndexFunc(bindings, func(b allocator.Binding) bool { return b.UID == string(o.UID) })
		if k < 0 {
			continue
		}
		b := &bindings[k]
		status := map[string]any{}
		address, service := "", (*v1alpha1.ServiceReference)(nil)
		if b.Address.IsValid() {
			address = b.Address.String()
		}
		if b.Service != (allocator.Key{}) {
			service = &v1alpha1.ServiceReference{Namespace: b.Service.Namespace, Name: b.Service.Name}
		}
		if address != o.Status.Address {
			status["address"] = orNull(address)
		}
		if old := o.Status.Service; (old == nil) != (service == nil) || old != nil && *old != *service {
			status["service"] = service
		}
		conditions := slices.Clone(o.Status.Conditions)
		if a.setCondition(&conditions, v1alpha1.ConditionBound, b.Bound, b.Verdict, o.Generation) {
			status["conditions"] = conditions
		}
		if len(status) > 0 {
			_, err := a.patchStatus(ctx, o, &v1alpha1.AddressReservation{}, status)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// orNull makes a merge patch remove what is empty.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// setCondition sets a condition and says whether that changes anything.
func (a *Allocation) setCondition(conditions *[]metav1.Condition, kind string, isTrue bool, v verdict.Verdict, generation int64) bool {
	status := metav1.ConditionFalse
	if isTrue {
		status = metav1.ConditionTrue
	}
	return meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: status, Reason: string(v.Reason), Message: cut(v.Message, maxConditionMessage),
		ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(a.Now()),
	})
}
