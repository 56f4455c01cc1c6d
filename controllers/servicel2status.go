package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/speaker"
)

// A speaker writes so many ServiceL2Statuses a second at most, after so many at once: they tell what is, and must not
// delay the statuses of Services, which the API server writes meanwhile.
const (
	l2StatusRate  = 20
	l2StatusBurst = 40
)

// ServiceL2Statuses keeps the ServiceL2Statuses of this node: one for each Service that has an address which is announced
// from here. Configure comes before the manager is made, SetUp after that. A nil ServiceL2Statuses keeps none.
type ServiceL2Statuses struct {
	Log       *slog.Logger
	Namespace string
	Node      string

	client client.Client
	cache  cache.Cache
	upkeep upkeep
	pace   *rate.Limiter

	mu   sync.Mutex
	want map[allocator.Key][]string // interfaces, sorted; nil: nothing was told yet
}

// Configure adds to a manager's options what is watched: this node's objects.
func (s *ServiceL2Statuses) Configure(o *manager.Options) {
	own := labels.SelectorFromSet(labels.Set{v1beta1.LabelNode: s.Node})
	o.Cache.ByObject[&v1beta1.ServiceL2Status{}] = cache.ByObject{
		Namespaces: map[string]cache.Config{s.Namespace: {LabelSelector: own}}, Transform: stripStatusOf(s.Node),
	}
}

// SetUp registers the writer with the manager.
func (s *ServiceL2Statuses) SetUp(m ctrl.Manager) error {
	s.client, s.cache, s.upkeep = m.GetClient(), m.GetCache(), newUpkeep()
	s.pace = rate.NewLimiter(l2StatusRate, l2StatusBurst)
	return m.Add(s)
}

// NeedLeaderElection says that every node has its own.
func (*ServiceL2Statuses) NeedLeaderElection() bool { return false }

// tell replaces what is announced from here. It never waits for the API server.
func (s *ServiceL2Statuses) tell(want map[allocator.Key][]string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.want = want
	s.mu.Unlock()
	s.upkeep.mark()
}

// Start writes what is not so yet, until the context ends.
func (s *ServiceL2Statuses) Start(ctx context.Context) error {
	if err := watch(ctx, s.cache, []client.Object{&v1beta1.ServiceL2Status{}}, s.upkeep.mark); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return s.upkeep.run(ctx, s.Log, "ServiceL2Statuses are not written in full", speakerStateEvery, s.write)
}

// write makes the objects what was told last, at its pace.
func (s *ServiceL2Statuses) write(ctx context.Context) (tired bool, err error) {
	s.mu.Lock()
	want := s.want
	s.mu.Unlock()
	if want == nil {
		return false, nil
	}
	var list v1beta1.ServiceL2StatusList
	if err := listAll(ctx, s.client, s.Namespace, &list); err != nil {
		return false, err
	}
	wanted := make(map[string]bool, len(want)) // by name
	for key := range want {
		wanted[s.name(key)] = true
	}
	var steps []func() error
	have := map[string]*v1beta1.ServiceL2Status{}
	for i := range list.Items {
		o := &list.Items[i]
		if o.Labels[v1beta1.LabelNode] != s.Node {
			continue // another speaker's, whatever the cache holds
		}
		if wanted[o.Name] {
			have[o.Name] = o
			continue
		}
		steps = append(steps, func() error { return client.IgnoreNotFound(s.client.Delete(ctx, o.DeepCopy())) })
	}
	for _, key := range sortedKeys(want) {
		links, o := want[key], have[s.name(key)]
		if o != nil && slices.Equal(linksOf(o), links) && o.Status.Node == s.Node {
			continue
		}
		steps = append(steps, func() error { return s.put(ctx, key, links, o) })
	}
	errs := make([]error, len(steps))
	var g errgroup.Group
	g.SetLimit(statusWriters)
	for i, step := range steps {
		if err := s.pace.Wait(ctx); err != nil {
			errs[i] = err
			break // the context ended
		}
		g.Go(func() error { errs[i] = step(); return nil })
	}
	_ = g.Wait()
	return false, errors.Join(errs...)
}

// put writes one object; o is what there is of it, or nil.
func (s *ServiceL2Statuses) put(ctx context.Context, key allocator.Key, links []string, o *v1beta1.ServiceL2Status) error {
	if o == nil {
		fresh := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.name(key), Labels: map[string]string{
			v1beta1.LabelNode: s.Node, v1beta1.LabelServiceNamespace: key.Namespace, v1beta1.LabelServiceName: key.Name,
		}}}
		var n corev1.Node
		if err := s.client.Get(ctx, client.ObjectKey{Name: s.Node}, &n); err != nil {
			return fmt.Errorf("reading Node %q: %w", s.Node, err)
		}
		fresh.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}
		if err := s.client.Create(ctx, fresh); err != nil {
			if apierrors.IsAlreadyExists(err) {
				return nil // the watch will show it
			}
			return fmt.Errorf("creating the ServiceL2Status of %s: %w", key, err)
		}
		o = fresh
	}
	next := o.DeepCopy()
	next.Status = v1beta1.ServiceL2StatusStatus{Node: s.Node, ServiceNamespace: key.Namespace, ServiceName: key.Name}
	for _, l := range links {
		next.Status.Interfaces = append(next.Status.Interfaces, v1beta1.InterfaceInfo{Name: l})
	}
	if err := s.client.Status().Update(ctx, next); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the ServiceL2Status of %s: %w", key, err)
	}
	return nil
}

// name returns the name of a Service's object, which no other node and Service has.
func (s *ServiceL2Statuses) name(key allocator.Key) string {
	return fmt.Sprintf("l2-%016x", xxhash.Sum64String(s.Node+"/"+key.String()))
}

func linksOf(o *v1beta1.ServiceL2Status) []string {
	var out []string
	for _, l := range o.Status.Interfaces {
		out = append(out, l.Name)
	}
	return out
}

func sortedKeys(m map[allocator.Key][]string) []allocator.Key {
	out := make([]allocator.Key, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b allocator.Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// announcedLinks returns the interfaces on which each Service is announced from here.
func announcedLinks(r speaker.Report) map[allocator.Key][]string {
	byAddress := map[netip.Addr][]string{}
	for _, x := range r.Local.Announced {
		byAddress[x.Address] = append(byAddress[x.Address], x.Link.Name)
	}
	out := map[allocator.Key][]string{}
	for i := range r.Plan.Verdicts {
		v := &r.Plan.Verdicts[i]
		links := byAddress[v.Address]
		if v.Reason != verdict.Announced || len(links) == 0 {
			continue
		}
		key := allocator.Key{Namespace: v.Namespace, Name: v.Name}
		all := slices.Concat(out[key], links)
		slices.Sort(all)
		out[key] = slices.Compact(all)
	}
	return out
}
