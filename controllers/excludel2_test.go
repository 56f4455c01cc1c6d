package controllers

import (
	"context"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestExcludedInterfaces: the ConfigMap replaces the default while it is there; what is bad in it changes nothing.
func TestExcludedInterfaces(t *testing.T) {
	var log logBuffer
	var now []*regexp.Regexp
	c := fakeClient(t).Build()
	e := &ExcludedInterfaces{
		Log: log.logger(), Namespace: "metallb-system", Default: []*regexp.Regexp{regexp.MustCompile("^lo$")}, client: c,
		Set: func(to []*regexp.Regexp) { now = to },
	}
	ctx := context.Background()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "metallb-excludel2"}}
	put := func(data map[string]string) {
		t.Helper()
		o.Data, o.ResourceVersion = data, ""
		_ = client.IgnoreNotFound(c.Delete(ctx, o.DeepCopy()))
		if err := c.Create(ctx, o.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	list := func(patterns ...string) map[string]string {
		return map[string]string{"excludel2.yaml": "announcedInterfacesToExclude: [" + strings.Join(patterns, ", ") + "]"}
	}
	for _, step := range []struct {
		change func()
		want   string
		warns  int // so far
	}{
		{func() {}, "^lo$", 0},
		{func() { put(list(`"^veth.*"`, `"^lo$"`)) }, "^veth.* ^lo$", 0},
		{func() { put(map[string]string{"else": ""}) }, "^veth.* ^lo$", 1},
		{func() {}, "^veth.* ^lo$", 1},
		{func() { put(map[string]string{"excludel2.yaml": "nothing: []"}) }, "^veth.* ^lo$", 2},
		{func() { put(list(`"("`, `"^eth1$"`)) }, "^eth1$", 3},
		{func() { put(list()) }, "", 3},
		{func() { _ = c.Delete(ctx, o.DeepCopy()) }, "^lo$", 3},
	} {
		step.change()
		e.follow(ctx)
		var got []string
		for _, re := range now {
			got = append(got, re.String())
		}
		if strings.Join(got, " ") != step.want || strings.Count(log.String(), "level=WARN") != step.warns {
			t.Fatalf("excluded are %q, want %q; log:\n%s", got, step.want, log.String())
		}
	}
}
