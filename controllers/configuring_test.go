package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"
)

// TestConfiguring: what is given is applied in an order that admission can follow, and what was given before is deleted, each
// as soon as it can be.
func TestConfiguring(t *testing.T) {
	none := func(int) error { return nil }
	for name, c := range map[string]struct {
		given  []string
		there  []string // before; one with a star was configured
		says   map[string]func(attempt int) error
		calls  []string // that succeed
		err    string
		within time.Duration
	}{
		"advertisements come last": {
			given: []string{"L2Advertisement all", "BGPPeer tor", "IPAddressPool first", "Community c"},
			calls: []string{"apply Community c", "apply IPAddressPool first", "apply BGPPeer tor", "apply L2Advertisement all"},
		},
		"nothing": {},
		"what is given no more is deleted, advertisements first": {
			given: []string{"IPAddressPool first"},
			there: []string{"IPAddressPool first*", "IPAddressPool old*", "L2Advertisement old*", "IPAddressPool mine"},
			calls: []string{"apply IPAddressPool first", "delete L2Advertisement old", "delete IPAddressPool old"},
		},
		"an object of another kind": {given: []string{"Service web"}, err: `Service "web" is not of a kind that can be configured`},
		"the webhooks do not answer yet": {
			given: []string{"IPAddressPool first"},
			says:  map[string]func(int) error{"apply IPAddressPool first": before(3, apierrors.NewInternalError(errors.New("failed calling webhook")))},
			calls: []string{"apply IPAddressPool first"},
		},
		"the role is not in force yet": {
			given: []string{"IPAddressPool first"},
			says:  map[string]func(int) error{"apply IPAddressPool first": before(2, forbidden("User \"x\" cannot patch resource"))},
			calls: []string{"apply IPAddressPool first"},
		},
		"one is refused for want of another": {
			given: []string{"IPAddressPool first", "IPAddressPool second"},
			says:  map[string]func(int) error{"apply IPAddressPool first": before(1, forbidden("admission webhook denied the request: not now"))},
			calls: []string{"apply IPAddressPool second", "apply IPAddressPool first"},
		},
		"one is refused, the others are applied, and nothing is deleted": {
			given: []string{"IPAddressPool bad", "IPAddressPool good", "IPAddressPool worse"},
			there: []string{"IPAddressPool old*"},
			says: map[string]func(int) error{
				"apply IPAddressPool bad":   before(1000, forbidden("admission webhook denied the request: it overlaps")),
				"apply IPAddressPool worse": before(1000, apierrors.NewInvalid(schema.GroupKind{Kind: "IPAddressPool"}, "worse", nil)),
			},
			calls: []string{"apply IPAddressPool good"},
			err:   `applying IPAddressPool "bad": forbidden: admission webhook denied the request: it overlaps` + "\n" + `applying IPAddressPool "worse": IPAddressPool "worse" is invalid`,
		},
		"a pool that is in use is not deleted": {
			there: []string{"IPAddressPool old*"},
			says:  map[string]func(int) error{"delete IPAddressPool old": before(1000, forbidden("admission webhook denied the request: in use"))},
			err:   `deleting IPAddressPool "old": forbidden: admission webhook denied the request: in use`,
		},
		"somebody else set a field": {
			given: []string{"IPAddressPool first"},
			says:  map[string]func(int) error{"apply IPAddressPool first": before(1000, apierrors.NewConflict(schema.GroupResource{}, "first", errors.New("conflict with \"kubectl\"")))},
			err:   `conflict with "kubectl"`,
		},
		"nobody ever answers": {
			given:  []string{"IPAddressPool first"},
			says:   map[string]func(int) error{"apply IPAddressPool first": before(100000, apierrors.NewServiceUnavailable("no endpoints"))},
			within: 20 * time.Millisecond,
			err:    `given up: applying IPAddressPool "first": no endpoints`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			scheme, err := NewScheme()
			if err != nil {
				t.Fatal(err)
			}
			var calls []string
			attempts := map[string]int{}
			told := func(verb, kind, name string) error {
				call := verb + " " + kind + " " + name
				attempts[call]++
				says := c.says[call]
				if says == nil {
					says = none
				}
				err := says(attempts[call])
				if err == nil {
					calls = append(calls, call)
				}
				return err
			}
			b := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
				Apply: func(_ context.Context, _ client.WithWatch, o runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
					a := o.(interface {
						GetKind() string
						GetName() string
						GetNamespace() string
						GetLabels() map[string]string
					})
					if a.GetNamespace() != "here" || a.GetLabels()[labelManagedBy] != configuredBy {
						t.Errorf("%s is applied in %q with the labels %v", a.GetName(), a.GetNamespace(), a.GetLabels())
					}
					return told("apply", a.GetKind(), a.GetName())
				},
				Delete: func(ctx context.Context, d client.WithWatch, o client.Object, _ ...client.DeleteOption) error {
					return told("delete", o.GetObjectKind().GroupVersionKind().Kind, o.GetName())
				},
			})
			for _, text := range c.there {
				b.WithObjects(given(t, strings.TrimSuffix(text, "*"), strings.HasSuffix(text, "*")))
			}
			var objects []*unstructured.Unstructured
			for _, text := range c.given {
				objects = append(objects, given(t, text, false))
			}
			if c.within == 0 {
				c.within = 10 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			defer cancel()
			log := &logBuffer{}
			err = (&Configuring{Client: b.Build(), Log: log.logger(), Namespace: "here", Every: time.Millisecond}).Run(ctx, objects)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if d := cmp.Diff(c.calls, calls); d != "" {
				t.Errorf("%s\n%s", d, log)
			}
			if n := strings.Count(log.String(), "waiting"); n > 3 {
				t.Errorf("it says %d times that it waits", n)
			}
		})
	}
}

// before fails with that error as many times.
func before(times int, err error) func(int) error {
	return func(attempt int) error {
		if attempt <= times {
			return err
		}
		return nil
	}
}

func forbidden(why string) error {
	err := apierrors.NewForbidden(schema.GroupResource{}, "", nil)
	err.ErrStatus.Message = "forbidden: " + why
	return err
}

// given makes an object of "Kind name".
func given(t *testing.T, text string, configured bool) *unstructured.Unstructured {
	t.Helper()
	kind, name, _ := strings.Cut(text, " ")
	version := "v1"
	if i := slices.IndexFunc(ConfiguredKinds(), func(k schema.GroupVersionKind) bool { return k.Kind == kind }); i >= 0 {
		version = ConfiguredKinds()[i].GroupVersion().String()
	}
	var o unstructured.Unstructured
	if err := yaml.Unmarshal(fmt.Appendf(nil, "{apiVersion: %s, kind: %s, metadata: {name: %s}}", version, kind, name), &o.Object); err != nil {
		t.Fatal(err)
	}
	if configured || name == "mine" {
		o.SetNamespace("here")
	}
	if configured {
		o.SetLabels(map[string]string{labelManagedBy: configuredBy})
	}
	return &o
}
