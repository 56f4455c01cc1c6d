package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// ConfigurationState keeps the object of that kind in which one component says whether it can use the configuration: of
// the controller, which its leader writes, or of a node's speaker. Configure comes before the manager is made, SetUp after
// that. A nil ConfigurationState says nothing.
type ConfigurationState struct {
	Namespace string
	Node      string // of the speaker; "" for the controller
	PodName   string // of the pod that this process runs in, which then owns the object; "" where it is unknown
	PodUID    string
	Lease     *Lease // of the controller; nil where there is no election

	client  client.Client
	changed chan crevent.GenericEvent
	told    atomic.Pointer[[]policy.Problem] // nil: nothing was compiled yet
	written *v1beta1.ConfigurationState      // an own write that the informer may not have shown yet
}

func (c *ConfigurationState) name() string {
	if c.Node == "" {
		return v1beta1.ComponentController
	}
	return v1beta1.ComponentSpeaker + "-" + c.Node
}

// Configure adds to a manager's options what is watched: the one object.
func (c *ConfigurationState) Configure(o *manager.Options) {
	o.Cache.ByObject[&v1beta1.ConfigurationState{}] = cache.ByObject{Namespaces: map[string]cache.Config{c.Namespace: {FieldSelector: named(c.name())}}}
}

// SetUp registers the writer with the manager.
func (c *ConfigurationState) SetUp(m ctrl.Manager) error {
	c.client = m.GetClient()
	c.changed = make(chan crevent.GenericEvent, 1)
	leader := c.Node == ""
	return ctrl.NewControllerManagedBy(m).Named("configuration-state").WithOptions(controller.Options{
		NeedLeaderElection: &leader,
		RateLimiter:        workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, maxRetryDelay),
	}).
		Watches(&v1beta1.ConfigurationState{}, handler.EnqueueRequestsFromMapFunc(enqueueEverything)).
		WatchesRawSource(source.Channel(c.changed, handler.EnqueueRequestsFromMapFunc(enqueueEverything))).
		Complete(c)
}

// tell replaces the problems that the object is to show. It never waits for the API server.
func (c *ConfigurationState) tell(problems []policy.Problem) {
	if c == nil {
		return
	}
	if old := c.told.Swap(&problems); old != nil && slices.Equal(*old, problems) {
		return
	}
	select {
	case c.changed <- crevent.GenericEvent{Object: &v1beta1.ConfigurationState{}}:
	default: // the one that is waiting will do
	}
}

// Reconcile writes the object, if it does not say so already.
func (c *ConfigurationState) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	problems := c.told.Load()
	if problems == nil {
		return reconcile.Result{}, nil
	}
	if err := c.Lease.held(); err != nil {
		return reconcile.Result{}, err
	}
	o, err := c.object(ctx)
	if err != nil || o == nil {
		return reconcile.Result{}, err
	}
	status, changed := stateOf(o.Status, c.condition(), *problems, o.Generation)
	if !changed {
		return reconcile.Result{}, nil
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"result": status.Result, "errorSummary": status.ErrorSummary, "conditions": status.Conditions,
	}})
	if err != nil {
		return reconcile.Result{}, err
	}
	own := &v1beta1.ConfigurationState{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.name()}}
	if err := c.client.Status().Patch(ctx, own, client.RawPatch(types.MergePatchType, patch)); err != nil {
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, nil // it was deleted; the watch will say so
		}
		return reconcile.Result{}, fmt.Errorf("writing the status of ConfigurationState %q: %w", c.name(), err)
	}
	c.written = own
	return reconcile.Result{}, nil
}

// object returns the object as it is now, and makes it where there is none; nil where it exists but is not shown yet.
func (c *ConfigurationState) object(ctx context.Context) (*v1beta1.ConfigurationState, error) {
	var o v1beta1.ConfigurationState
	err := c.client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: c.name()}, &o)
	switch {
	case err == nil && c.written != nil && c.written.UID == o.UID && older(o.ResourceVersion, c.written.ResourceVersion):
		return c.written, nil
	case err == nil:
		return &o, nil
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("reading ConfigurationState %q: %w", c.name(), err)
	}
	fresh := &v1beta1.ConfigurationState{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.name(), Labels: c.labels()}}
	if fresh.OwnerReferences, err = c.owner(ctx); err != nil {
		return nil, err
	}
	if err := c.client.Create(ctx, fresh); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("creating ConfigurationState %q: %w", c.name(), err)
	}
	return fresh, nil
}

func (c *ConfigurationState) labels() map[string]string {
	if c.Node == "" {
		return map[string]string{v1beta1.LabelComponentType: v1beta1.ComponentController}
	}
	return map[string]string{v1beta1.LabelComponentType: v1beta1.ComponentSpeaker, v1beta1.LabelNodeName: c.Node}
}

func (c *ConfigurationState) owner(ctx context.Context) ([]metav1.OwnerReference, error) {
	return ownerOf(ctx, c.client, c.PodName, c.PodUID, c.Node)
}

// ownerOf returns whom an object of one component goes with: the pod or, where that is unknown, the speaker's Node.
func ownerOf(ctx context.Context, c client.Reader, podName, podUID, node string) ([]metav1.OwnerReference, error) {
	switch {
	case podName != "" && podUID != "":
		return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: podName, UID: types.UID(podUID)}}, nil
	case node == "":
		return nil, nil
	}
	var n corev1.Node
	if err := c.Get(ctx, client.ObjectKey{Name: node}, &n); err != nil {
		return nil, fmt.Errorf("reading Node %q: %w", node, err)
	}
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}, nil
}

func (c *ConfigurationState) condition() string {
	if c.Node == "" {
		return v1beta1.ConditionPoolReconcilerValid
	}
	return v1beta1.ConditionConfigReconcilerValid
}

// stateOf words the problems as a status, and says whether that differs from the old one.
func stateOf(old v1beta1.ConfigurationStateStatus, condition string, problems []policy.Problem, generation int64) (v1beta1.ConfigurationStateStatus, bool) {
	messages := make([]string, len(problems))
	for i, p := range problems {
		messages[i] = p.Message
	}
	slices.Sort(messages) // the order in which objects are listed is no change
	out := v1beta1.ConfigurationStateStatus{Result: v1beta1.ConfigurationValid, ErrorSummary: cut(strings.Join(messages, "; "), maxConditionMessage)}
	is := metav1.Condition{
		Type: condition, Status: metav1.ConditionTrue, Reason: string(verdict.Reconciled), Message: out.ErrorSummary, ObservedGeneration: generation,
	}
	if len(problems) > 0 {
		out.Result, is.Status, is.Reason = v1beta1.ConfigurationInvalid, metav1.ConditionFalse, string(verdict.ConfigurationError)
	}
	out.Conditions = slices.Clone(old.Conditions)
	changed := meta.SetStatusCondition(&out.Conditions, is)
	return out, changed || old.Result != out.Result || old.ErrorSummary != out.ErrorSummary
}
