package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/watchdog"
)

// bench is an Allocation on an API server in memory, whose cache is what the test says.
type bench struct {
	*Allocation
	t      *testing.T
	log    logBuffer
	events recorder
	mu     sync.Mutex                      // for stale
	stale  []corev1.Service                // what the cache shows of Services, where it is behind; nil where it is not
	refuse func(name string) error         // how a status write fails
	patch  func(c client.Client, n string) // runs before a status write
}

func newBench(t *testing.T, objects ...client.Object) *bench {
	b := &bench{t: t}
	objects = append(objects, &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "first-pool", UID: "p"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []string{"172.25.254.50-172.25.254.99"}},
	})
	c := fakeClient(t, objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if l, ok := list.(*corev1.ServiceList); ok && b.stale != nil {
				l.Items = slices.Clone(b.stale)
				return nil
			}
			return c.List(ctx, list, o...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if _, ok := o.(*metav1.PartialObjectMetadata); !ok { // of a Service
				return c.SubResource(sub).Patch(ctx, o, p, opts...)
			}
			if b.patch != nil {
				b.patch(c, o.GetName())
			}
			if b.refuse != nil {
				if err := b.refuse(o.GetName()); err != nil {
					return err
				}
			}
			if err := c.SubResource(sub).Patch(ctx, o, p, opts...); err != nil {
				return err
			}
			return annotate(ctx, c, o, p)
		},
	}).Build()
	b.Allocation = &Allocation{
		Client: c, Uncached: c, Events: &b.events, Log: b.log.logger(), Namespace: "metallb-system", OrphanGrace: time.Minute, Writers: 4, Now: time.Now,
		leads: true,
	}
	b.start()
	return b
}

// annotate applies the annotations of a status patch, which the API server does and the one in memory does not.
func annotate(ctx context.Context, c client.Client, o client.Object, p client.Patch) error {
	data, err := p.Data(o)
	if err != nil {
		return err
	}
	var patch struct {
		Metadata struct {
			Annotations map[string]*string `json:"annotations,omitempty"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &patch); err != nil || len(patch.Metadata.Annotations) == 0 {
		return err
	}
	if data, err = json.Marshal(patch); err != nil {
		return err
	}
	return c.Patch(ctx, o, client.RawPatch(types.MergePatchType, data))
}

func (b *bench) pass() error {
	_, err := b.Reconcile(context.Background(), reconcile.Request{})
	for _, send := range b.telling.take() {
		send()
	}
	return err
}

// ingress returns the addresses of the Services of that name prefix, by name.
func (b *bench) ingress() map[string]string {
	b.t.Helper()
	var list corev1.ServiceList
	if err := b.Client.List(context.Background(), &list); err != nil {
		b.t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range list.Items {
		for _, in := range s.Status.LoadBalancer.Ingress {
			out[s.Name] += in.IP
		}
	}
	return out
}

func (b *bench) want(want map[string]string) {
	b.t.Helper()
	if got := b.ingress(); fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("addresses %v, want %v", got, want)
	}
}

// services returns that many pending Services, s0 and on.
func services(n int) []client.Object {
	var out []client.Object
	for i := range n {
		out = append(out, huazi(func(s *corev1.Service) {
			s.Name, s.UID, s.ResourceVersion = fmt.Sprintf("s%d", i), types.UID(fmt.Sprintf("u%d", i)), ""
		}))
	}
	return out
}

func TestOwnWritesCountBeforeTheCacheShowsThem(t *testing.T) {
	b := newBench(t, services(2)...)
	var before corev1.ServiceList
	if err := b.Client.List(context.Background(), &before); err != nil {
		t.Fatal(err)
	}
	b.stale = before.Items[1:] // the first one has not come yet
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	b.stale = before.Items // and now it comes, with the second one as it was
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	b.stale = nil
	b.want(map[string]string{"s1": "172.25.254.50", "s0": "172.25.254.51"})
	if n := len(b.events.take()); n != 2 {
		t.Errorf("%d Events", n)
	}
	if _, err := b.observe(context.Background()); err != nil || len(b.written) != 0 {
		t.Errorf("%d own writes are remembered though the cache shows them", len(b.written))
	}
}

func TestOwnWritesEndWithTheirService(t *testing.T) {
	b := newBench(t, services(1)...)
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	var again corev1.ServiceList
	if err := b.Client.List(context.Background(), &again); err != nil {
		t.Fatal(err)
	}
	again.Items[0].UID, again.Items[0].ResourceVersion, again.Items[0].Status = "another", "1", corev1.ServiceStatus{}
	again.Items[0].Annotations = nil
	b.stale = again.Items
	got, err := b.observe(context.Background())
	if err != nil || len(got) != 1 || len(got[0].Status.LoadBalancer.Ingress) != 0 {
		t.Errorf("a Service made anew under the same name is taken for the old one: %v, %v", got, err)
	}
	b.stale = []corev1.Service{}
	if got, err := b.observe(context.Background()); err != nil || len(got) != 0 || len(b.written) != 0 {
		t.Errorf("a deleted Service is remembered: %v, %v", got, err)
	}
}

func TestAConflictIsLeftToTheNextPass(t *testing.T) {
	b := newBench(t, services(2)...)
	b.patch = func(c client.Client, name string) { // a user is faster
		if name != "s0" {
			return
		}
		if err := c.Patch(context.Background(), huazi(func(s *corev1.Service) { s.Name = name }), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))); err != nil {
			t.Error(err)
		}
	}
	if err := b.pass(); err != nil {
		t.Fatalf("a conflict is no error, but: %v", err)
	}
	b.want(map[string]string{"s1": "172.25.254.51"})
	if log := b.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
		t.Errorf("logged:\n%s", log)
	}
	if events := b.events.take(); len(events) != 1 {
		t.Errorf("told %v, though only one was written", events)
	}
	b.patch = nil
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	b.want(map[string]string{"s0": "172.25.254.50", "s1": "172.25.254.51"})
}

func TestAServiceThatIsGoneIsNoError(t *testing.T) {
	b := newBench(t, services(1)...)
	b.refuse = func(name string) error {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, name)
	}
	if err := b.pass(); err != nil {
		t.Error(err)
	}
	if events := b.events.take(); len(events) != 0 {
		t.Errorf("told %v", events)
	}
}

func TestAFailedWriteHoldsUpNoOther(t *testing.T) {
	b := newBench(t, services(9)...)
	refused := errors.New("an admission webhook says no")
	b.refuse = func(name string) error {
		if name == "s3" || name == "s5" {
			return refused
		}
		return nil
	}
	err := b.pass()
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), "writing the status of Service default/s3") || !strings.Contains(err.Error(), "default/s5") {
		t.Errorf("the error is %v", err) // and so controller-runtime tries again
	}
	if n := len(b.ingress()); n != 7 {
		t.Errorf("%d Services have an address, want all but two", n)
	}
	b.refuse = nil
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	if got := b.ingress(); len(got) != 9 || got["s3"] != "172.25.254.53" {
		t.Errorf("in the end %v", got)
	}
}

func TestAServiceThatIsBeingDeletedIsLeftAlone(t *testing.T) {
	deleting := func(s *corev1.Service) {
		s.Finalizers = []string{"example.com/wait"}
		s.DeletionTimestamp = &metav1.Time{Time: now}
		s.ResourceVersion = ""
	}
	b := newBench(t,
		huazi(deleting), // never had one
		huazi(deleting, assigned("172.25.254.50"), func(s *corev1.Service) { s.Name, s.UID = "holds", "u2" }),
		services(1)[0],
	)
	b.refuse = func(name string) error {
		if name != "s0" {
			t.Errorf("%s is written", name)
		}
		return nil
	}
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	b.want(map[string]string{"holds": "172.25.254.50", "s0": "172.25.254.51"})
}

// TestTheWatchdogSeesAPassWithoutEnd, which a restart mends.
func TestTheWatchdogSeesAPassWithoutEnd(t *testing.T) {
	b := newBench(t, services(1)...)
	b.watchdog = watchdog.New("the allocation", 0)
	var during error
	b.patch = func(client.Client, string) { during = b.watchdog.Check(nil) }
	if err := b.pass(); err != nil {
		t.Fatal(err)
	}
	if during == nil {
		t.Error("nothing is said during a pass")
	}
	if err := b.watchdog.Check(nil); err != nil {
		t.Errorf("after the pass: %v", err)
	}
}
