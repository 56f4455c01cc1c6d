package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WriteTimeout bounds one write of an address. It has to be shorter than the time between the last moment at which a write
// may begin and the end of the lease, so that no write of a leader is under way when the next one begins to decide.
const WriteTimeout = 2 * time.Second

const (
	catchUpPage  = 1000                  // Services to ask for at once
	catchUpLook  = 20 * time.Millisecond // how often the cache is looked at
	catchUpAgain = time.Second           // when the API server is asked again: a Service may be gone by now
)

var errLease = errors.New("this replica did not renew its lease for so long that another one may lead by now")

// lead returns nil when this replica may decide. At the beginning of a term it waits until the cache shows everything that
// those who led before have written: an address that the cache does not show yet would be given a second time.
func (a *Allocation) lead(ctx context.Context) error {
	term, ok := a.Lease.term()
	switch {
	case !ok:
		return errLease
	case a.leads && a.term == term:
		return nil
	}
	if err := a.catchUp(ctx); err != nil {
		return fmt.Errorf("waiting until the cache shows what was written before: %w", err)
	}
	a.leads, a.term = true, term
	return nil
}

// underLease makes a write, if the term in which it was decided is not over.
func (a *Allocation) underLease(ctx context.Context, write func(context.Context) error) error {
	if term, ok := a.Lease.term(); !ok || term != a.term {
		return errLease
	}
	ctx, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	return write(ctx)
}

// catchUp asks the API server itself for the versions of all Services, and waits until the cache shows each of them, or a
// later one.
func (a *Allocation) catchUp(ctx context.Context) error {
	for {
		behind, err := a.versions(ctx)
		if err != nil {
			return err
		}
		for late := time.Now().Add(catchUpAgain); time.Now().Before(late); {
			var cached corev1.ServiceList
			if err := a.Client.List(ctx, &cached); err != nil {
				return fmt.Errorf("listing Services: %w", err)
			}
			for i := range cached.Items {
				if s := &cached.Items[i]; !older(s.ResourceVersion, behind[s.UID]) {
					delete(behind, s.UID)
				}
			}
			if len(behind) == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(catchUpLook):
			}
		}
	}
}

// versions returns the resource version of every Service, by UID, as etcd has it: that is how the API server answers a
// request that names no version.
func (a *Allocation) versions(ctx context.Context) (map[types.UID]string, error) {
	out := map[types.UID]string{}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceList"))
	for {
		if err := a.Uncached.List(ctx, list, client.Limit(catchUpPage), client.Continue(list.Continue)); err != nil {
			return nil, fmt.Errorf("listing the versions of Services: %w", err)
		}
		for i := range list.Items {
			out[list.Items[i].UID] = list.Items[i].ResourceVersion
		}
		if list.Continue == "" {
			return out, nil
		}
	}
}
