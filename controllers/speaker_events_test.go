package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
)

// TestEventsOfASpeaker: they go out in order, each until the API server has answered, and not again where it refuses.
func TestEventsOfASpeaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scheme, err := NewScheme()
		if err != nil {
			t.Fatal(err)
		}
		var sent []string
		refuses := map[int]error{1: errors.New("connection refused"), 3: apierrors.NewForbidden(eventsv1.Resource("events"), "", nil)}
		var log logBuffer
		var last *eventsv1.Event
		w := newEventWriter(log.logger(), scheme, "fairlead-speaker", func(_ context.Context, e *eventsv1.Event) error {
			last = e
			sent = append(sent, fmt.Sprintf("%s %s %s/%s: %s", e.Type, e.Regarding.Kind, e.Namespace, e.Regarding.Name, e.Note))
			return refuses[len(sent)]
		})
		service := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "default", Name: "huazi", UID: "u1"}
		w.Eventf(service, nil, "Normal", "nodeAssigned", "Announce", "%s", "announcing 100%")
		w.Eventf(service, nil, "Normal", "nodeAssigned", "Announce", "refused")
		w.Eventf(&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: "first-pool"}}, nil, "Warning", "r", "Compile", "a pool")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Start(ctx) }()
		time.Sleep(2 * eventAgain)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []string{
			"Normal Service default/huazi: announcing 100%", "Normal Service default/huazi: announcing 100%",
			"Normal Service default/huazi: refused", "Warning IPAddressPool metallb-system/first-pool: a pool",
		}
		if strings.Join(sent, "\n") != strings.Join(want, "\n") {
			t.Errorf("sent %q, want %q", sent, want)
		}
		if last.ReportingController != "fairlead-speaker" || last.ReportingInstance == "" || last.Action != "Compile" || last.EventTime.IsZero() || !strings.HasPrefix(last.Name, "first-pool.") {
			t.Errorf("the API server would not take %+v", last)
		}
	})
}

// TestEventsThatWaitAreBounded: while the API server is away no more than so many wait.
func TestEventsThatWaitAreBounded(t *testing.T) {
	w := newEventWriter(new(logBuffer).logger(), nil, "fairlead-speaker", nil)
	for range mostEvents + 100 {
		w.Eventf(&corev1.ObjectReference{}, nil, "Normal", "r", "a", "n")
	}
	if n := len(w.telling.take()); n != mostEvents {
		t.Errorf("%d Events wait, want %d", n, mostEvents)
	}
}
