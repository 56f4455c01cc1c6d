package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/addrset"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/policy"
)

const (
	// labelProgrammer is on the Lease by which a node's programmer tells that it is alive; its value is the node.
	labelProgrammer = "fairlead.io/programmer"
	// leasePrefix begins the name of such a Lease; the node's name follows.
	leasePrefix = "fairlead-ipvs-"
	// settingName names the ConfigMap that says which Services IPVS serves, and settingKey what in it does.
	settingName = "fairlead-ipvs"
	settingKey  = "dataplane"

	silence = mode.Silence
	// forgotten is how long one programmer has to be silent until its ProgrammerState is removed, so that its node announces
	// nothing that only a programmer can keep right. A restart takes less.
	forgotten = time.Minute
)

// Programmers follows what the nodes' IPVS programmers report, and removes the reports of silent ones where this replica
// leads. Configure comes before the manager is made, SetUp after that. A nil one reports nothing.
type Programmers struct {
	Log       *slog.Logger
	Namespace string

	silence, forgotten time.Duration // zero: the constants

	client  client.Client
	cache   cache.Cache
	changed chan crevent.GenericEvent // gets a value when it changes who is heard

	mu    sync.Mutex
	heard map[string]sign // by node
	alive bool            // what view says

	told map[complaint]struct{} // of Services; for the one worker of the allocation
}

// complaint is what programmers do not serve of a Service as it asks, for one reason. It is comparable.
type complaint struct {
	service string // namespace/name
	reason  verdict.Reason
}

// sign is the last sign of life of a programmer.
type sign struct {
	renewed time.Time // what it wrote, by its clock
	seen    time.Time // when that was first seen here
	wrote   bool      // it was seen to write: what stood there when this replica started may be of any age
	heard   bool      // what view says
}

// Configure adds to a manager's options what is watched.
func (p *Programmers) Configure(o *manager.Options) {
	here := map[string]cache.Config{p.Namespace: {}}
	marked, _ := labels.Parse(labelProgrammer)
	o.Cache.ByObject[&coordinationv1.Lease{}] = cache.ByObject{Namespaces: here, Label: marked}
	watchSetting(o, p.Namespace)
}

// watchSetting adds the one ConfigMap that says which Services IPVS serves.
func watchSetting(o *manager.Options, namespace string) {
	o.Cache.ByObject[&corev1.ConfigMap{}] = cache.ByObject{Namespaces: map[string]cache.Config{namespace: {FieldSelector: named(settingName)}}}
}

// SetUp registers the follower with the manager.
func (p *Programmers) SetUp(m ctrl.Manager) error {
	p.client, p.cache, p.changed = m.GetClient(), m.GetCache(), make(chan crevent.GenericEvent, 1)
	p.heard = map[string]sign{}
	p.silence, p.forgotten = cmp.Or(p.silence, silence), cmp.Or(p.forgotten, forgotten)
	return errors.Join(m.Add(everywhere(p.listen)), m.Add(manager.RunnableFunc(p.forget)))
}

// speakerStateMeta is what is watched of SpeakerStates: that there are some.
func speakerStateMeta() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SpeakerState"))
	return o
}

// watches has a controller decide anew when something changes that view reads, and returns the kinds.
func (p *Programmers) watches(b *builder.Builder) []client.Object {
	if p == nil {
		return nil
	}
	again := handler.EnqueueRequestsFromMapFunc(enqueueEverything)
	b.Watches(&v1alpha1.ProgrammerState{}, again)
	b.Watches(&corev1.ConfigMap{}, again)
	b.Watches(speakerStateMeta(), again, builder.WithPredicates(predicate.Funcs{UpdateFunc: func(crevent.UpdateEvent) bool { return false }}))
	b.WatchesRawSource(source.Channel(p.changed, again))
	return []client.Object{&v1alpha1.ProgrammerState{}, &corev1.ConfigMap{}, speakerStateMeta()}
}

// listen follows the Leases until the context ends.
func (p *Programmers) listen(ctx context.Context) error {
	if err := watch(ctx, p.cache, []client.Object{&coordinationv1.Lease{}}, nil); err != nil {
		return err
	}
	informer, err := p.cache.GetInformer(ctx, &coordinationv1.Lease{})
	if err != nil {
		return fmt.Errorf("watching Leases: %w", err)
	}
	note := func(o any, old bool) {
		if l, ok := o.(*coordinationv1.Lease); ok {
			p.note(l, old, time.Now())
		}
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{AddFunc: note, UpdateFunc: func(_, o any) { note(o, false) }}); err != nil {
		return fmt.Errorf("watching Leases: %w", err)
	}
	tick := time.NewTicker(max(p.silence/20, 10*time.Millisecond))
	defer tick.Stop()
	for {
		p.look(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// note notes a sign of life. Its age goes by this process's clock, from when it was first seen; old says that it was there
// before this process looked.
func (p *Programmers) note(l *coordinationv1.Lease, old bool, now time.Time) {
	node := l.Labels[labelProgrammer]
	if node == "" || l.Name != leasePrefix+node || l.Spec.RenewTime == nil {
		return
	}
	p.mu.Lock()
	if last, ok := p.heard[node]; !ok || !last.renewed.Equal(l.Spec.RenewTime.Time) {
		p.heard[node] = sign{renewed: l.Spec.RenewTime.Time, seen: now, wrote: ok || !old, heard: last.heard}
	}
	p.mu.Unlock()
	p.look(now)
}

// look finds out which programmers were heard a short time ago, and has everything decided anew where that changed.
func (p *Programmers) look(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	alive, changed := false, false
	for node, s := range p.heard {
		lately := now.Sub(s.seen) < p.silence
		alive = alive || lately
		if heard := lately && s.wrote; heard != s.heard {
			s.heard, changed = heard, true
			p.heard[node] = s
		}
	}
	if changed || alive != p.alive {
		p.alive = alive
		select {
		case p.changed <- crevent.GenericEvent{Object: &corev1.ConfigMap{}}:
		default:
		}
	}
}

// forget removes the reports of silent programmers, on the leader, until the context ends. One that comes back writes its
// report again.
func (p *Programmers) forget(ctx context.Context) error {
	began := time.Now()
	tick := time.NewTicker(p.forgotten / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.removeSilent(ctx, began, time.Now()); err != nil && ctx.Err() == nil {
			p.Log.Warn("ProgrammerStates of silent programmers are not removed, trying again", "error", err)
		}
	}
}

func (p *Programmers) removeSilent(ctx context.Context, began, now time.Time) error {
	var list v1alpha1.ProgrammerStateList
	if err := listAll(ctx, p.client, p.Namespace, &list); err != nil {
		return err
	}
	var errs []error
	for i := range list.Items {
		o := &list.Items[i]
		p.mu.Lock()
		last := p.heard[o.Name].seen
		p.mu.Unlock()
		if now.Sub(last) < p.forgotten || now.Sub(began) < p.forgotten || now.Sub(o.CreationTimestamp.Time) < p.forgotten {
			continue
		}
		err := p.client.Delete(ctx, o.DeepCopy(), client.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion})
		if err == nil {
			p.Log.Warn("the IPVS programmer of a node is silent: the node announces nothing for it any more", "node", o.Name)
		}
		errs = append(errs, client.IgnoreNotFound(ignoreConflict(err)))
	}
	return errors.Join(errs...)
}

func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// view puts together what the modes depend on.
func (p *Programmers) view(ctx context.Context, compiled *policy.Policy, now time.Time) (*mode.View, error) {
	out := &mode.View{Now: now, Policy: compiled, Setting: mode.None}
	if p == nil {
		return out, nil
	}
	var err error
	if out.Setting, err = readSetting(ctx, p.client, p.Namespace); err != nil {
		return nil, err
	}
	p.mu.Lock()
	out.Heard = p.alive
	heard := maps.Clone(p.heard)
	p.mu.Unlock()
	var nodes corev1.NodeList
	if err := p.client.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("listing Nodes: %w", err)
	}
	served, err := readProgrammed(ctx, p.client, p.Namespace)
	if err != nil {
		return nil, err
	}
	speakers := &metav1.PartialObjectMetadataList{}
	speakers.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SpeakerStateList"))
	if err := p.client.List(ctx, speakers, client.InNamespace(p.Namespace)); err != nil {
		return nil, fmt.Errorf("listing SpeakerStates: %w", err)
	}
	speaks := make(map[string]bool, len(speakers.Items))
	for i := range speakers.Items {
		speaks[speakers.Items[i].Name] = true
	}
	for i := range nodes.Items {
		if n := &nodes.Items[i]; speaks[n.Name] {
			out.Nodes = append(out.Nodes, mode.Node{Name: n.Name, Labels: n.Labels, Able: able(n), Serves: served[n.Name], Heard: heard[n.Name].heard})
		}
	}
	slices.SortFunc(out.Nodes, func(a, b mode.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// complaints tells what programmers do not serve of Services as they ask: once for each Service and reason, however many nodes
// say so, in the words of the first one.
func (p *Programmers) complaints(ctx context.Context, services []*corev1.Service, tell func(*corev1.Service, event)) error {
	if p == nil {
		return nil
	}
	var list v1alpha1.ProgrammerStateList
	if err := listAll(ctx, p.client, p.Namespace, &list); err != nil {
		return err
	}
	said := map[complaint]string{}
	var order []complaint
	for _, o := range slices.SortedFunc(slices.Values(list.Items), func(a, b v1alpha1.ProgrammerState) int { return cmp.Compare(a.Name, b.Name) }) {
		for _, x := range o.Status.Problems {
			c := complaint{x.Name, verdict.Reason(x.Reason)}
			if _, ok := said[c]; x.Kind == "Service" && !ok {
				said[c] = x.Message
				order = append(order, c)
			}
		}
	}
	byName := map[string]*corev1.Service{}
	if len(order) > 0 {
		for _, s := range services {
			byName[s.Namespace+"/"+s.Name] = s
		}
	}
	told := map[complaint]struct{}{}
	for _, c := range order {
		told[c] = struct{}{}
		if s := byName[c.service]; s != nil {
			if _, again := p.told[c]; !again {
				tell(s, *warning(c.reason, "%s", said[c]))
			}
		}
	}
	p.told = told
	return nil
}

// able says whether a node may announce addresses by what its Node says.
func able(n *corev1.Node) bool {
	x := nodeOf(n)
	return x.Ready && !x.Excluded && !x.OutOfService && !x.NetworkUnavailable
}

// readSetting reads which Services IPVS serves; without the ConfigMap, those that ask for it.
func readSetting(ctx context.Context, c client.Reader, namespace string) (mode.Setting, error) {
	var o corev1.ConfigMap
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: settingName}, &o); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("reading ConfigMap %q: %w", settingName, err)
	}
	return cmp.Or(mode.Setting(strings.TrimSpace(o.Data[settingKey])), mode.Annotated), nil
}

// readProgrammed reads which addresses each node's programmer reports as served.
func readProgrammed(ctx context.Context, c client.Reader, namespace string) (map[string]addrset.Set, error) {
	var list v1alpha1.ProgrammerStateList
	if err := listAll(ctx, c, namespace, &list); err != nil {
		return nil, err
	}
	out := make(map[string]addrset.Set, len(list.Items))
	for i := range list.Items {
		var n corev1.Node
		if err := c.Get(ctx, client.ObjectKey{Name: list.Items[i].Name}, &n); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading Node %q: %w", list.Items[i].Name, err)
		}
		out[list.Items[i].Name] = servedBy(&list.Items[i], &n)
	}
	return out, nil
}

// servedBy returns the addresses that a node's programmer reports as served: none when the node has started anew since, by
// which its kernel lost them. What does not parse counts as not served.
func servedBy(s *v1alpha1.ProgrammerState, n *corev1.Node) addrset.Set {
	if beforeBoot(s, n) {
		return nil
	}
	out, _ := addrset.Parse(s.Status.Addresses)
	return out
}

// beforeBoot says whether a report is of before the node started anew.
func beforeBoot(s *v1alpha1.ProgrammerState, n *corev1.Node) bool {
	was, is := s.Status.BootID, n.Status.NodeInfo.BootID
	return was != "" && is != "" && was != is
}

// modeOf is what the mode depends on of a Service that is to have what was decided.
func modeOf(s *corev1.Service, r *allocator.Service, d *allocator.Decision) mode.Service {
	return mode.Service{
		Labels: s.Labels, Annotation: asked(s), Addresses: d.Addresses, Pool: d.Pool,
		Proxied: proxied(s, r.Held), Held: r.Held, AssignedAt: r.AssignedAt,
	}
}
