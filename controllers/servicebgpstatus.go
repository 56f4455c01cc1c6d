package controllers

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/speaker/plan"
)

const (
	// statusEvery is how often ServiceBGPStatus objects are written at most.
	statusEvery = time.Second
	// statusWriters is how many objects of one kind a speaker writes at the same time.
	statusWriters = 4
)

// BGPStatuses keeps the ServiceBGPStatus objects of this node: one for each Service that it is to announce by BGP, with
// the names of the BGPPeers. It has none where all speakers together would need more than Limit. Configure comes before
// the manager is made, SetUp after that. A nil BGPStatuses keeps none.
type BGPStatuses struct {
	Log       *slog.Logger
	Namespace string
	Node      string
	PodName   string // of the pod that this process runs in, which then owns the objects; "" where it is unknown
	PodUID    string
	Limit     int

	client client.Client
	cache  cache.Cache
	upkeep upkeep

	mu   sync.Mutex
	want map[allocator.Key][]string // peers by Service; nil: nothing was told yet
	off  bool                       // there would be too many
}

// Configure adds to a manager's options what is watched: this node's objects.
func (b *BGPStatuses) Configure(o *manager.Options) {
	own := labels.SelectorFromSet(labels.Set{v1beta1.LabelNode: b.Node})
	o.Cache.ByObject[&v1beta1.ServiceBGPStatus{}] = cache.ByObject{
		Namespaces: map[string]cache.Config{b.Namespace: {LabelSelector: own}}, Transform: stripStatusOf(b.Node),
	}
}

// SetUp registers the writer with the manager.
func (b *BGPStatuses) SetUp(m ctrl.Manager) error {
	b.client, b.cache = m.GetClient(), m.GetCache()
	b.upkeep = newUpkeep()
	return m.Add(b)
}

// NeedLeaderElection says that every node has its own.
func (*BGPStatuses) NeedLeaderElection() bool { return false }

// tell replaces what the objects are to say, given the number of live speakers. It returns why there are none, or "". It
// never waits for the API server.
func (b *BGPStatuses) tell(verdicts []plan.BGPVerdict, speakers int) string {
	if b == nil {
		return ""
	}
	want := map[allocator.Key][]string{}
	for i := range verdicts {
		v := &verdicts[i]
		if len(v.Peers) == 0 {
			continue
		}
		key := allocator.Key{Namespace: v.Namespace, Name: v.Name}
		if have := want[key]; have == nil {
			want[key] = v.Peers
		} else if !slices.Equal(have, v.Peers) { // the two addresses of a dual-stack Service go to different peers
			both := slices.Concat(have, v.Peers)
			slices.Sort(both)
			want[key] = slices.Compact(both)
		}
	}
	why := ""
	if n := len(want) * max(speakers, 1); n > b.Limit {
		why = fmt.Sprintf("there are no ServiceBGPStatus objects: about %d would be needed on all nodes, and --bgp-status-limit is %d", n, b.Limit)
		want = map[allocator.Key][]string{} // a map that was large once stays so
	}
	b.mu.Lock()
	turned := b.off != (why != "")
	b.want, b.off = want, why != ""
	b.mu.Unlock()
	if turned && why != "" {
		b.Log.Warn(why)
	}
	b.upkeep.mark()
	return why
}

// Start writes what is not so yet whenever that may have changed, at most once in statusEvery, until the context ends.
func (b *BGPStatuses) Start(ctx context.Context) error {
	if err := watch(ctx, b.cache, []client.Object{&v1beta1.ServiceBGPStatus{}}, b.upkeep.mark); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return b.upkeep.run(ctx, b.Log, "ServiceBGPStatus objects are not written", statusEvery, b.write)
}

// write makes the objects what is wanted. It goes on past a failing one.
func (b *BGPStatuses) write(ctx context.Context) (tired bool, err error) {
	b.mu.Lock()
	want := b.want
	b.mu.Unlock()
	if want == nil {
		return true, nil
	}
	var list v1beta1.ServiceBGPStatusList
	if err := b.client.List(ctx, &list, client.InNamespace(b.Namespace)); err != nil {
		return true, fmt.Errorf("listing ServiceBGPStatus objects: %w", err)
	}
	have := make(map[string]*v1beta1.ServiceBGPStatus, len(list.Items))
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	var mu sync.Mutex
	var errs []error
	var g errgroup.Group
	g.SetLimit(statusWriters)
	do := func(f func() error) {
		g.Go(func() error {
			if err := f(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			return nil
		})
	}
	for key, peers := range want {
		name := b.name(key)
		old := have[name]
		delete(have, name)
		if old == nil || !slices.Equal(old.Status.Peers, peers) {
			do(func() error { return b.put(ctx, key, name, old, peers) })
		}
	}
	for _, old := range have {
		do(func() error { return client.IgnoreNotFound(b.client.Delete(ctx, old)) })
	}
	_ = g.Wait()
	return true, errors.Join(errs...)
}

// name is that of the object of a Service: always the same, so that two are never made.
func (b *BGPStatuses) name(key allocator.Key) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s/%s/%s", b.Node, key.Namespace, key.Name)
	return "bgp-" + hex.EncodeToString(h.Sum(nil))
}

// put writes one object, and makes it first where there is none.
func (b *BGPStatuses) put(ctx context.Context, key allocator.Key, name string, old *v1beta1.ServiceBGPStatus, peers []string) error {
	what := fmt.Sprintf("ServiceBGPStatus %q of Service %s", name, key)
	if old == nil {
		owner, err := ownerOf(ctx, b.client, b.PodName, b.PodUID, b.Node)
		if err != nil {
			return err
		}
		fresh := &v1beta1.ServiceBGPStatus{ObjectMeta: metav1.ObjectMeta{
			Namespace: b.Namespace, Name: name, OwnerReferences: owner,
			Labels: map[string]string{v1beta1.LabelNode: b.Node, v1beta1.LabelServiceName: key.Name, v1beta1.LabelServiceNamespace: key.Namespace},
		}}
		if err := b.client.Create(ctx, fresh); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating %s: %w", what, err)
		}
	}
	patch, err := json.Marshal(map[string]any{"status": v1beta1.ServiceBGPStatusStatus{
		Node: b.Node, ServiceName: key.Name, ServiceNamespace: key.Namespace, Peers: peers,
	}})
	if err != nil {
		return err
	}
	o := &v1beta1.ServiceBGPStatus{ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Name: name}}
	if err := b.client.Status().Patch(ctx, o, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status of %s: %w", what, err)
	}
	return nil
}
