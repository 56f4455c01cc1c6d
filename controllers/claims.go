package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// addressClaims reads the claims, and the objects that they are in by their addresses. What was not made by a controller
// and means nothing is returned apart.
func addressClaims(ctx context.Context, c client.Reader, namespace string) (claims []allocator.Claim, objects map[netip.Addr]*v1alpha1.AddressClaim, strange []fault, err error) {
	var list v1alpha1.AddressClaimList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, nil, nil, fmt.Errorf("listing AddressClaims: %w", err)
	}
	objects = make(map[netip.Addr]*v1alpha1.AddressClaim, len(list.Items))
	for i := range list.Items {
		o := &list.Items[i]
		claim, err := allocator.ClaimOf(o)
		if err != nil {
			strange = append(strange, fault{o, verdict.Verdict{Reason: verdict.InvalidValue, Message: err.Error() + ": delete it"}})
			continue
		}
		claims = append(claims, claim)
		objects[claim.Address] = o
	}
	return claims, objects, strange, nil
}

// writeClaims writes what the claims need, some at a time, and returns the addresses whose claims are not as they should
// be: no status may show them. A claim that somebody else wrote or made meanwhile is one of those, and no error: the
// next pass, which that change brings, knows it.
func (a *Allocation) writeClaims(ctx context.Context, writes []allocator.ClaimWrite, objects map[netip.Addr]*v1alpha1.AddressClaim) ([]netip.Addr, error) {
	var g errgroup.Group
	g.SetLimit(a.Writers)
	errs := make([]error, len(writes))
	for i := range writes {
		g.Go(func() error {
			errs[i] = a.underLease(ctx, func(ctx context.Context) error { return a.writeClaim(ctx, &writes[i], objects) })
			return nil
		})
	}
	_ = g.Wait()
	var missing []netip.Addr
	var failed []error
	for i, err := range errs {
		switch {
		case err == nil:
			continue
		case errors.Is(err, errLease):
			return nil, errLease
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
			a.Log.Debug("the AddressClaim changed before it was written", "address", writes[i].Address, "because", err)
		default:
			failed = append(failed, fmt.Errorf("writing AddressClaim %q: %w", allocator.ClaimName(writes[i].Address), err))
		}
		if writes[i].Op != allocator.DeleteClaim {
			missing = append(missing, writes[i].Address)
		}
	}
	return missing, errors.Join(failed...)
}

// writeClaim makes, changes or removes one claim; the latter two provided that it is as it was read.
func (a *Allocation) writeClaim(ctx context.Context, w *allocator.ClaimWrite, objects map[netip.Addr]*v1alpha1.AddressClaim) error {
	o := &v1alpha1.AddressClaim{}
	if w.Op != allocator.CreateClaim {
		objects[w.Address].DeepCopyInto(o)
	}
	switch w.Op {
	case allocator.DeleteClaim:
		return a.Client.Delete(ctx, o, client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
	case allocator.UpdateClaim:
		o.Spec = w.Spec()
		return a.Client.Update(ctx, o)
	}
	o.Namespace, o.Name, o.Spec = a.Namespace, allocator.ClaimName(w.Address), w.Spec()
	return a.Client.Create(ctx, o)
}

// withoutThoseOf returns the changes but those that would show one of the addresses.
func withoutThoseOf(changes []change, addresses []netip.Addr) []change {
	if len(addresses) == 0 {
		return changes
	}
	return slices.DeleteFunc(slices.Clone(changes), func(c change) bool {
		return slices.ContainsFunc(c.addresses, func(x netip.Addr) bool { return slices.Contains(addresses, x) })
	})
}
