package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
)

// Release has kube-proxy serve everything that IPVS serves, and returns when it does: before the programmers go. It sets the
// ConfigMap that the controller and the programmers follow, and waits for the controller, and for the programmers, which know
// when kube-proxy has begun. That is gone with the programmers, or set to something else by whoever wants them back.
func Release(ctx context.Context, c client.Client, log *slog.Logger, namespace string) error {
	setting := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: settingName}}
	patch := fmt.Appendf(nil, `{"data":{%q:%q}}`, settingKey, mode.None)
	err := c.Patch(ctx, setting, client.RawPatch("application/merge-patch+json", patch))
	if apierrors.IsNotFound(err) {
		setting.Data = map[string]string{settingKey: string(mode.None)}
		err = c.Create(ctx, setting)
	}
	if err != nil {
		return fmt.Errorf("setting ConfigMap %q: %w", settingName, err)
	}
	var released []netip.Addr
	for said := -1; ; {
		var list corev1.ServiceList
		if err := c.List(ctx, &list); err != nil {
			return fmt.Errorf("listing Services: %w", err)
		}
		left := 0
		released = nil
		for i := range list.Items {
			s := &list.Items[i]
			if s.Labels[labelProxyName] != proxyName {
				released = append(released, allocator.Ingress(s)...)
			}
			if meta.FindStatusCondition(s.Status.Conditions, ConditionProgrammed) != nil && len(proxied(s, allocator.Ingress(s))) > 0 {
				left++
			}
		}
		if left == 0 {
			break
		}
		if left != said {
			log.Info("waiting for the controller to leave Services to kube-proxy", "services", left)
			said = left
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d Services are still left to IPVS; is a controller running? %w", left, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
	return letGo(ctx, c, log, namespace, released)
}

// letGo waits until no programmer beside a kube-proxy reports any of these addresses, so that nothing of them is left in a
// kernel when the programmers go. One that tells nothing any more is waited for no longer than the others take.
func letGo(ctx context.Context, c client.Client, log *slog.Logger, namespace string, released []netip.Addr) error {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return fmt.Errorf("listing Nodes: %w", err)
	}
	var holding []string
	for _, n := range nodes.Items {
		holding = append(holding, n.Name)
	}
	wait := func(d time.Duration) error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the programmers of %s: %w", strings.Join(holding, ", "), ctx.Err())
		case <-time.After(d):
			return nil
		}
	}
	if err := wait(mode.Lingering); err != nil { // what they report now may not be what they make of it
		return err
	}
	for began := time.Now(); ; {
		var errs []error
		holding = slices.DeleteFunc(holding, func(node string) bool {
			var state v1alpha1.ProgrammerState
			if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: node}, &state); err != nil {
				errs = append(errs, client.IgnoreNotFound(err))
				return apierrors.IsNotFound(err)
			}
			serves, _ := addrset.Parse(state.Status.Addresses) // what parses
			return state.Status.KubeProxy == "" || !slices.ContainsFunc(released, serves.Contains)
		})
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("asking what programmers serve: %w", err)
		}
		silent := time.Since(began) > mode.Patience
		if silent {
			log.Warn("programmers still report what kube-proxy is to serve", "nodes", holding)
		}
		if silent || len(holding) == 0 {
			return wait(mode.Lingering) // in which they let go
		}
		if err := wait(time.Second); err != nil {
			return err
		}
	}
}
