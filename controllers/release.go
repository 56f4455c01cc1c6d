package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
)

// Release has kube-proxy serve everything that IPVS serves, and returns when it does: before the programmers go. It sets the
// ConfigMap that the controller and the programmers follow, and waits for the controller. That is gone with the programmers,
// or set to something else by whoever wants them back.
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
	for said := -1; ; {
		var list corev1.ServiceList
		if err := c.List(ctx, &list); err != nil {
			return fmt.Errorf("listing Services: %w", err)
		}
		left := 0
		for i := range list.Items {
			s := &list.Items[i]
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
	select { // kube-proxy needs a moment to begin; the programmers serve on meanwhile
	case <-ctx.Done():
	case <-time.After(lingering):
	}
	return nil
}
