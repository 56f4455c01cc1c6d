//go:build envtest

package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/policy"
)

// patience is how long a test waits for what takes a fraction of a second.
const patience = 20 * time.Second

// The API server that all tests of the package share, and what the Kubernetes libraries log of it.
var (
	server      *rest.Config
	libraryLogs logBuffer
)

func TestMain(m *testing.M) { os.Exit(withServer(m)) }

// withServer runs the tests beside a real API server, with a check that nothing that came from a cache is modified:
// where something is, the process panics.
func withServer(m *testing.M) int {
	const detector = "KUBE_CACHE_MUTATION_DETECTOR"
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "FAIL: these tests need KUBEBUILDER_ASSETS, the folder of kube-apiserver and etcd")
		return 1
	}
	if os.Getenv(detector) == "" { // client-go reads it before main
		if err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), detector+"=true")); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL: starting the tests again with", detector, err)
			return 1
		}
	}
	klog.SetSlogLogger(libraryLogs.logger())
	ctrl.SetLogger(logr.FromSlogHandler(libraryLogs.logger().Handler()))
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd"}, ErrorIfCRDPathMissing: true}
	flags := env.ControlPlane.GetAPIServer().Configure()
	flags.Set("authorization-mode", "RBAC")
	flags.Set("service-cluster-ip-range", "10.96.0.0/16,fd00:10:96::/112")
	flags.Set("max-requests-inflight", "3000").Set("max-mutating-requests-inflight", "1500")
	config, err := env.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: starting the API server:", err)
		return 1
	}
	config.QPS, config.Burst = 1000, 2000
	server = config
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: stopping the API server:", err)
		return 1
	}
	return code
}

// story is one test's part of the API server: a namespace for Services, one for configuration, a load-balancer class.
type story struct {
	t         *testing.T
	ctx       context.Context
	admin     client.WithWatch // without a cache
	namespace string           // of the Services
	config    string           // namespace of the configuration
	class     string
}

func newStory(t *testing.T) *story {
	name := regexp.MustCompile("[^a-z0-9]+").ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-")
	return newStoryIn(t, name, name+"-config", "example.com/"+name)
}

func newStoryIn(t *testing.T, namespace, config, class string) *story {
	t.Parallel()
	s := &story{t: t, ctx: t.Context(), namespace: namespace, config: config, class: class}
	scheme, err := NewScheme()
	s.ok(err)
	s.ok(clientgoscheme.AddToScheme(scheme))
	s.admin, err = client.NewWithWatch(server, client.Options{Scheme: scheme})
	s.ok(err)
	for _, name := range []string{s.namespace, s.config} {
		s.ok(client.IgnoreAlreadyExists(s.admin.Create(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})))
	}
	return s
}

func (s *story) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) create(objects ...client.Object) {
	s.t.Helper()
	for _, o := range objects {
		s.ok(s.admin.Create(s.ctx, o))
	}
}

func (s *story) pool(name string, addresses ...string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: name},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: addresses},
	}
}

// service returns a load balancer of the story's class.
func (s *story) service(name string, changes ...func(*corev1.Service)) *corev1.Service {
	v := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}},
			AllocateLoadBalancerNodePorts: new(bool), // there are not enough for all tests
		},
	}
	if s.class != "" {
		v.Spec.LoadBalancerClass = &s.class
	}
	for _, change := range changes {
		change(v)
	}
	return v
}

func families(policy corev1.IPFamilyPolicy, f ...corev1.IPFamily) func(*corev1.Service) {
	return func(v *corev1.Service) { v.Spec.IPFamilyPolicy, v.Spec.IPFamilies = &policy, f }
}

func (s *story) get(name string) *corev1.Service {
	s.t.Helper()
	var v corev1.Service
	s.ok(s.admin.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, &v))
	return &v
}

// merge applies a JSON merge patch as a user does.
func (s *story) merge(o client.Object, patch string) {
	s.t.Helper()
	s.ok(s.admin.Patch(s.ctx, o, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func (s *story) delete(o client.Object) {
	s.t.Helper()
	s.ok(s.admin.Delete(s.ctx, o))
}

// eventually waits until the function returns "", else fails with what it returned last.
func (s *story) eventually(try func() string) {
	s.t.Helper()
	late := time.Now().Add(patience)
	for {
		what := try()
		if what == "" {
			return
		}
		if time.Now().After(late) {
			s.t.Fatal(what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// external returns what kubectl shows as EXTERNAL-IP.
func external(v *corev1.Service) string {
	var out []string
	for _, in := range v.Status.LoadBalancer.Ingress {
		out = append(out, in.IP+in.Hostname)
	}
	return strings.Join(out, ",")
}

// gets waits until the Service has just these addresses, comma-separated.
func (s *story) gets(name, addresses string) {
	s.t.Helper()
	s.eventually(func() string {
		v := s.get(name)
		if got := external(v); got != addresses {
			return fmt.Sprintf("%s has %q, want %q; conditions %v", name, got, addresses, v.Status.Conditions)
		}
		return ""
	})
}

// waits waits until the Service's condition says why it has no address, or not the one it asks for.
func (s *story) waits(name, reason, message string) {
	s.t.Helper()
	s.eventually(func() string {
		c := meta.FindStatusCondition(s.get(name).Status.Conditions, ConditionAssigned)
		if c == nil || c.Reason != reason || !strings.Contains(c.Message, message) {
			return fmt.Sprintf("the condition of %s is %+v, want %s: %s", name, c, reason, message)
		}
		return ""
	})
}

// events returns Fairlead's Events about an object, as kind, reason and note. The API server tells some of its own.
func (s *story) events(namespace, kind, name string) []string {
	s.t.Helper()
	var list eventsv1.EventList
	s.ok(s.admin.List(s.ctx, &list, client.InNamespace(namespace)))
	var out []string
	for _, e := range list.Items {
		if e.Regarding.Kind != kind || e.Regarding.Name != name || !strings.HasPrefix(e.ReportingController, "fairlead-") {
			continue
		}
		text := e.Type + " " + e.Reason + " " + e.Note
		if e.Series != nil {
			text += fmt.Sprintf(" (%d times)", e.Series.Count)
		}
		if e.Regarding.UID == "" {
			text += " (without UID)"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// told waits until just these Events were recorded about a Service. One that ends with * gives only the beginning.
func (s *story) told(name string, want ...string) {
	s.t.Helper()
	s.toldOf(s.namespace, "Service", name, want...)
}

func (s *story) toldOf(namespace, kind, name string, want ...string) {
	s.t.Helper()
	slices.Sort(want)
	s.eventually(func() string {
		same := func(got, want string) bool {
			beginning, open := strings.CutSuffix(want, "*")
			return got == want || open && strings.HasPrefix(got, beginning)
		}
		if got := s.events(namespace, kind, name); !slices.EqualFunc(got, want, same) {
			return fmt.Sprintf("the Events of %s %s are %q\nwant %q", kind, name, got, want)
		}
		return ""
	})
}

// replica is one running controller.
type replica struct {
	*story
	log    logBuffer
	passes atomic.Int64
	ready  func(*http.Request) error
	stop   func() error

	mu       sync.Mutex
	requests []string                        // every write: method, path, status
	leases   []string                        // those of the lease
	meddle   func(method, path string) error // runs before a write is sent
}

// settings of a controller that differ from test to test.
type settings struct {
	as         string // the ServiceAccount to be, namespace/name; "" for an administrator
	elect      bool
	membersKey bool // make the speakers' key first
	grace      time.Duration
	silence    time.Duration // of the programmers, after which kube-proxy serves; they are forgotten after twice that; 0: as they are
	meddle     func(method, path string) error
}

// as returns the way to the API server for a ServiceAccount, namespace/name, with the rights of just that one; of a pod on
// a node with "@node" behind it.
func as(account string) *rest.Config {
	config := rest.CopyConfig(server)
	account, node, _ := strings.Cut(account, "@")
	if namespace, name, ok := strings.Cut(account, "/"); ok {
		config.Impersonate = rest.ImpersonationConfig{
			UserName: "system:serviceaccount:" + namespace + ":" + name,
			Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		}
		if node != "" {
			config.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}}
		}
	}
	return config
}

func (s *story) start(with settings) *replica {
	s.t.Helper()
	c := &replica{story: s, meddle: with.meddle}
	config := as(with.as)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return transport{c, next} })
	lease, err := NewLease(config, s.config, 5*time.Second)
	s.ok(err)
	state := &ConfigurationState{Namespace: s.config}
	programmers := &Programmers{Log: c.log.logger(), Namespace: s.config, silence: with.silence, forgotten: 2 * with.silence}
	m := c.manager(config, func(o *manager.Options) {
		state.Configure(o)
		programmers.Configure(o)
		o.LeaderElection, o.LeaderElectionResourceLockInterface, o.LeaderElectionReleaseOnCancel = with.elect, lease, true
	})
	if with.membersKey {
		s.ok(CreateMembersKey(s.ctx, m.GetClient(), s.config))
	}
	a := &Allocation{
		Client: counted{m.GetClient(), &c.passes}, Uncached: m.GetAPIReader(), Events: m.GetEventRecorder("fairlead-controller"), Log: c.log.logger(),
		State: state, Programmers: programmers, Namespace: s.config, Class: s.class, OrphanGrace: cmp.Or(with.grace, time.Minute), Writers: 16, Now: time.Now,
		ServiceNodePorts: policy.DefaultServiceNodePorts(),
	}
	if with.elect {
		a.Lease, state.Lease = lease, lease
	}
	s.ok(errors.Join(programmers.SetUp(m), a.SetUp(m), state.SetUp(m)))
	c.ready = a.Ready
	c.stop = s.background(m.Start)
	return c
}

// manager returns a manager as the command makes it.
func (c *replica) manager(config *rest.Config, role func(*manager.Options)) manager.Manager {
	c.t.Helper()
	options, err := ManagerOptions(c.config)
	c.ok(err)
	yes, grace := true, 1800*time.Millisecond
	options.Controller.SkipNameValidation = &yes
	options.Metrics.BindAddress, options.HealthProbeBindAddress = "0", "0"
	options.GracefulShutdownTimeout = &grace
	options.Logger = logr.FromSlogHandler(c.log.logger().Handler())
	role(&options)
	m, err := manager.New(config, options)
	c.ok(err)
	return m
}

// background runs something until the test ends, or until what it returns is called, which then returns its error.
func (s *story) background(run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = run(ctx)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	s.t.Cleanup(func() {
		if err := stop(); err != nil {
			s.t.Error(err)
		}
	})
	return stop
}

// counted counts passes: each of them lists the Services once.
type counted struct {
	client.Client
	passes *atomic.Int64
}

func (c counted) List(ctx context.Context, list client.ObjectList, o ...client.ListOption) error {
	if _, ok := list.(*corev1.ServiceList); ok {
		c.passes.Add(1)
	}
	return c.Client.List(ctx, list, o...)
}

// again makes the controller decide anew a few times, by changes that mean nothing.
func (c *replica) again() {
	c.t.Helper()
	for range 3 {
		before := c.passes.Load()
		c.merge(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}, fmt.Sprintf(`{"metadata":{"labels":{"pass":"%d"}}}`, time.Now().UnixNano()))
		c.eventually(func() string {
			if c.passes.Load() == before {
				return "no pass came"
			}
			return ""
		})
	}
}

// transport keeps what a controller writes.
type transport struct {
	*replica
	next http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return t.next.RoundTrip(r)
	}
	if t.meddle != nil {
		if err := t.meddle(r.Method, r.URL.Path); err != nil {
			return nil, err
		}
	}
	resp, err := t.next.RoundTrip(r)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.requests = append(t.requests, fmt.Sprintf("%s %s: %v", r.Method, r.URL.Path, err))
		return resp, err
	}
	t.requests = append(t.requests, fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, resp.StatusCode))
	return resp, nil
}

// writes returns the writes about Services in the story's own namespace since writes or allWrites was called last.
func (c *replica) writes() []string {
	return slices.DeleteFunc(c.allWrites(), func(w string) bool {
		return strings.Contains(w, "/ipaddresspools/") || strings.Contains(w, "/configurationstates")
	})
}

// allWrites returns all writes to the story's own namespaces, but those of the lease, which it keeps in leases. Those elsewhere come from tests that
// run at the same time: a Service that is no load balancer any more is released by whoever sees it first.
func (c *replica) allWrites() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, w := range c.requests {
		switch {
		case strings.Contains(w, "/leases"):
			c.leases = append(c.leases, w)
		case strings.Contains(w, "/namespaces/"+c.namespace+"/"), strings.Contains(w, "/namespaces/"+c.config+"/"):
			out = append(out, w)
		}
	}
	c.requests = nil
	return out
}

// hasOne waits until the Service has an address, and returns it.
func (s *story) hasOne(name string) string {
	s.t.Helper()
	var got string
	s.eventually(func() string {
		v := s.get(name)
		if got = external(v); got == "" {
			return fmt.Sprintf("%s has no address: %v", name, v.Status.Conditions)
		}
		return ""
	})
	return got
}

// complaints returns the warnings and errors of the log, without the one that controller-runtime has for every leader
// that is asked to stop.
func (c *replica) complaints() []string {
	var out []string
	for line := range strings.Lines(c.log.String()) {
		if strings.Contains(line, "level=INFO") || strings.Contains(line, "level=DEBUG") || strings.Contains(line, `err="leader election lost"`) {
			continue
		}
		if strings.Contains(line, "level=") {
			out = append(out, line)
		}
	}
	return out
}

func (c *replica) quiet() {
	c.t.Helper()
	if lines := c.complaints(); len(lines) > 0 {
		c.t.Errorf("the log complains:\n%s", strings.Join(lines, ""))
	}
}

// assignedOne is the Event for an address of first-pool.
func assignedOne(address string) string {
	return fmt.Sprintf("Normal IPAllocated assigned %s from pool %q", address, "first-pool")
}
