package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
)

// storageRest is how long a definition must have stood before what is stored is written anew: another API server may
// store by the old one a little longer.
const storageRest = 30 * time.Second

// storage has BGPPeers that are stored in another version than v1beta2 stored anew, and takes that version out of the
// definition's status.storedVersions. Without conversion the API server reads only what is stored as v1beta2, so this is
// what lets a speaker find its peers while no controller runs. The leader alone does it. See "Upgrade existing objects to
// a new stored version" in https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/.
type storage struct {
	client     client.Client
	uncached   client.Reader // BGPPeers are read just for this, and are not worth a cache
	log        *slog.Logger
	definition string        // name of the CustomResourceDefinition of BGPPeers
	rest       time.Duration // storageRest, but in tests

	generation int64     // of the definition that was last seen with something to do
	seen       time.Time // when that generation was first seen
}

// Reconcile writes anew what is stored in another version, once the definition has stood for a while.
func (s *storage) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var d apiextensionsv1.CustomResourceDefinition
	if err := s.client.Get(ctx, client.ObjectKey{Name: s.definition}, &d); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	want := []string{v1beta2.GroupVersion.Version}
	if storageVersion(&d) != want[0] || slices.Equal(d.Status.StoredVersions, want) {
		return reconcile.Result{}, nil
	}
	if s.generation != d.Generation {
		s.generation, s.seen = d.Generation, time.Now()
	}
	if left := time.Until(s.seen.Add(s.rest)); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	count, err := s.rewrite(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	// The resource version makes this fail if the definition changed meanwhile; its change brings the next try.
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q},"status":{"storedVersions":[%q]}}`, d.ResourceVersion, want[0])
	if err := s.client.Status().Patch(ctx, d.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		if apierrors.IsConflict(err) {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("writing the stored versions of %s: %w", s.definition, err)
	}
	s.log.Info("BGPPeers are stored in one version now", "version", want[0], "written", count, "before", d.Status.StoredVersions)
	return reconcile.Result{}, nil
}

// rewrite has every BGPPeer stored as it is, which the API server does in the storage version, and returns how many. One
// that somebody else wrote or deleted meanwhile needs nothing more.
func (s *storage) rewrite(ctx context.Context) (int, error) {
	var peers v1beta2.BGPPeerList
	if err := s.uncached.List(ctx, &peers); err != nil {
		return 0, fmt.Errorf("listing the BGPPeers that are to be stored anew: %w", err)
	}
	var failed []error
	for i := range peers.Items {
		p := &peers.Items[i]
		if err := s.client.Update(ctx, p); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("storing the BGPPeer %s anew: %w", client.ObjectKeyFromObject(p), err))
		}
	}
	return len(peers.Items), errors.Join(failed...)
}

// storageVersion returns the version in which objects are stored.
func storageVersion(d *apiextensionsv1.CustomResourceDefinition) string {
	for _, v := range d.Spec.Versions {
		if v.Storage {
			return v.Name
		}
	}
	return ""
}
