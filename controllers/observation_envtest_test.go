//go:build envtest

package controllers

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/lint"
)

// asker returns a client of a user who may do what the rules of a ClusterRole say, and, in the namespace of the Services, what
// those of a Role say.
func (s *story) asker(user string, everywhere, here []rbacv1.PolicyRule) client.Reader {
	s.t.Helper()
	admin, err := kubernetes.NewForConfig(server)
	s.ok(err)
	subjects := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}}
	_, err = admin.RbacV1().ClusterRoles().Create(s.ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: everywhere}, metav1.CreateOptions{})
	s.ok(err)
	_, err = admin.RbacV1().ClusterRoleBindings().Create(s.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user}, Subjects: subjects,
	}, metav1.CreateOptions{})
	s.ok(err)
	_, err = admin.RbacV1().Roles(s.namespace).Create(s.ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: here}, metav1.CreateOptions{})
	s.ok(err)
	_, err = admin.RbacV1().RoleBindings(s.namespace).Create(s.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user}, Subjects: subjects,
	}, metav1.CreateOptions{})
	s.ok(err)
	config := rest.CopyConfig(server)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	c, err := NewAsker(config)
	s.ok(err)
	return c
}

// viewerRules are those of the ClusterRole fairlead-viewer, as they are installed.
func (s *story) viewerRules() []rbacv1.PolicyRule {
	s.t.Helper()
	data, err := os.ReadFile("../config/rbac/viewer.yaml")
	s.ok(err)
	var role rbacv1.ClusterRole
	s.ok(yaml.Unmarshal(data, &role))
	return role.Rules
}

// observe asks as a user does, some objects at a time, until the API server's authorizer knows of the user's roles.
func (s *story) observe(as client.Reader, about allocator.Key, gaps int) *explain.View {
	s.t.Helper()
	var v *explain.View
	s.eventually(func() string {
		var err error
		v, err = Observation{Client: as, Namespace: s.config, Class: s.class, PageSize: 2, Service: about, Now: time.Now()}.Read(s.ctx)
		s.ok(err)
		if len(v.Gaps) != gaps {
			return fmt.Sprintf("there are %d gaps, want %d: %v", len(v.Gaps), gaps, v.Gaps)
		}
		return ""
	})
	return v
}

// TestObservation: who has the ClusterRole fairlead-viewer sees everything, over several pages, and nothing that is not ours.
func TestObservation(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first", "192.0.2.0/28"), s.pool("bad", "192.0.2.0/33"))
	for i := range 5 {
		s.create(s.service(fmt.Sprint("s", i)))
	}
	other := "example.com/other"
	s.create(s.service("of-another-class", func(v *corev1.Service) { v.Spec.LoadBalancerClass = &other }))
	s.create(s.service("inner", func(v *corev1.Service) {
		v.Spec.Type, v.Spec.LoadBalancerClass, v.Spec.AllocateLoadBalancerNodePorts = "ClusterIP", nil, nil
	}))
	v := s.observe(s.asker("viewer-"+s.namespace, s.viewerRules(), nil), allocator.Key{}, 0)
	var ours, others []string
	for i := range v.Services {
		if x := &v.Services[i]; x.Namespace == s.namespace {
			if x.Ours {
				ours = append(ours, x.Name)
			} else {
				others = append(others, x.Name)
			}
		}
	}
	if got := strings.Join(ours, " "); got != "s0 s1 s2 s3 s4" || !slices.Equal(others, []string{"of-another-class"}) {
		t.Errorf("ours: %s, others: %s", got, others)
	}
	if len(v.Policy.Pools) != 2 || len(v.Problems) == 0 || len(v.Objects.Pools) != 2 {
		t.Errorf("%d pools, problems %v", len(v.Policy.Pools), v.Problems)
	}
}

// TestObservationWithFewRights: what may not be read is a gap; the Service that is asked about is found with rights in its
// namespace alone.
func TestObservationWithFewRights(t *testing.T) {
	s := newStory(t)
	s.create(s.pool("first", "192.0.2.16/28"), s.service("web"))
	web := allocator.Key{Namespace: s.namespace, Name: "web"}
	get := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"get"}}}
	list := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list"}},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"list"}},
	}
	const all = 19 // kinds are read
	for user, c := range map[string]struct {
		here []rbacv1.PolicyRule
		gaps int
		sees bool
	}{
		"none": {nil, all, false},
		"get":  {get, all, true},
		"list": {list, all - 1, true}, // the endpoints of the Service are read in its namespace
	} {
		v := s.observe(s.asker(user+"-"+s.namespace, nil, c.here), web, c.gaps)
		sees := slices.ContainsFunc(v.Services, func(x explain.Service) bool { return x.Key == web })
		if sees != c.sees {
			t.Errorf("%s: sees the Service: %t", user, sees)
		}
		for _, g := range v.Gaps {
			if g.Absent {
				t.Errorf("%s: %s is told to be unknown to the cluster", user, g.What)
			}
		}
		if !c.sees {
			continue
		}
		e, err := explain.OfService(v, web)
		if err != nil || e.OK || len(e.Gaps) != 1 || !strings.Contains(e.Gaps[0], "ask for the right, or for the ClusterRole fairlead-viewer") {
			t.Errorf("%s: %v %+v", user, err, e)
		}
	}
}

// TestObservationOfAnOlderCluster: a kind that the cluster does not have is a gap, as where the definitions were not all
// upgraded.
func TestObservationOfAnOlderCluster(t *testing.T) {
	s := newStory(t)
	s.create(s.service("web"))
	v := s.observe(without{s.admin, "AddressClaimList"}, allocator.Key{}, 1)
	if g := v.Gaps[0]; !g.Absent || g.Kind != explain.Claims {
		t.Errorf("%+v", g)
	}
	status := explain.OfCluster(v)
	if len(status.Gaps) != 1 || !strings.Contains(status.Gaps[0], "the cluster does not know addressclaims.fairlead.io: apply the CustomResourceDefinitions of this version") {
		t.Errorf("%q", status.Gaps)
	}
}

// TestObservationElsewhere: who asks about a namespace without Fairlead is told which one has it.
func TestObservationElsewhere(t *testing.T) {
	s := newStory(t)
	s.create(&v1alpha1.SpeakerState{ObjectMeta: metav1.ObjectMeta{Namespace: s.config, Name: "n-" + s.namespace}})
	v, err := Observation{Client: s.admin, Namespace: s.namespace, Class: s.class, PageSize: 2, Now: time.Now()}.Read(s.ctx)
	s.ok(err)
	if !slices.Contains(v.Elsewhere, s.config) || v.Installed() == nil {
		t.Errorf("%v", v.Elsewhere)
	}
	v, err = Observation{Client: s.admin, Namespace: s.config, Class: s.class, Now: time.Now()}.Read(s.ctx)
	s.ok(err)
	if err := v.Installed(); err != nil {
		t.Error(err)
	}
}

// TestDefinitionsOfACluster: what a real API server says of its schemas is understood: it lacks nothing, and where a field is
// taken out of it, that is found.
func TestDefinitionsOfACluster(t *testing.T) {
	s := newStory(t)
	admin, err := kubernetes.NewForConfig(server)
	s.ok(err)
	l, err := lint.New()
	s.ok(err)
	for gv, field := range map[schema.GroupVersion]string{
		{Group: "metallb.io", Version: "v1beta1"}:   "IPAddressPool.spec.avoidBuggyIPs",
		{Group: "fairlead.io", Version: "v1alpha1"}: "AddressPolicy.spec.reuseDelay",
	} {
		document, err := admin.Discovery().RESTClient().Get().AbsPath("openapi", "v3", "apis", gv.Group, gv.Version).DoRaw(s.ctx)
		s.ok(err)
		lacking, err := l.Lacking(gv, document)
		if err != nil || len(lacking) > 0 {
			t.Errorf("%s: %v, %v", gv, lacking, err)
		}
		older := strings.ReplaceAll(string(document), `"`+field[strings.LastIndex(field, ".")+1:]+`"`, `"taken"`)
		lacking, err = l.Lacking(gv, []byte(older))
		if err != nil || !slices.Contains(lacking, field) {
			t.Errorf("%s: %v, %v, want %s", gv, lacking, err, field)
		}
	}
}

// without is an API server that does not know a kind: of a list of that it asks for one which the real one does not know.
type without struct {
	client.Reader
	kind string
}

func (w without) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if strings.HasSuffix(fmt.Sprintf("%T", list), "."+w.kind) {
		var unknown unstructured.UnstructuredList
		unknown.SetGroupVersionKind(schema.GroupVersionKind{Group: "fairlead.io", Version: "v1alpha1", Kind: "NoSuchKindList"})
		return w.Reader.List(ctx, &unknown, options...)
	}
	return w.Reader.List(ctx, list, options...)
}
