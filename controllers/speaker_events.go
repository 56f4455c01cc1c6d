package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	eventsclient "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	// mostEvents is how many Events may wait; what comes then is dropped. Each of them is in the log, too.
	mostEvents = 20_000
	// eventAgain is how long after it could not be reached the API server is sent an Event again.
	eventAgain = 5 * time.Second
)

// EventWriter writes Events, in order and paced: there may be one for each of thousands of addresses, from every node. It
// forgets each as soon as it is written. client-go's recorder starts a goroutine for each, and keeps all of them for minutes to
// count repetitions; a speaker tells only what is new.
type EventWriter struct {
	log                  *slog.Logger
	scheme               *runtime.Scheme
	controller, instance string
	create               func(context.Context, *eventsv1.Event) error
	telling              *telling
	life                 context.Context // of Start
}

// NewEventWriter returns an EventWriter that writes in the name of a controller while the manager runs.
func NewEventWriter(m ctrl.Manager, log *slog.Logger, controller string) (*EventWriter, error) {
	c, err := newEventsClient(m)
	if err != nil {
		return nil, err
	}
	w := newEventWriter(log, m.GetScheme(), controller, func(ctx context.Context, e *eventsv1.Event) error {
		_, err := c.Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{})
		return err
	})
	return w, m.Add(w)
}

// newEventsClient returns a client for Events that shares the manager's connections.
func newEventsClient(m ctrl.Manager) (*eventsclient.EventsV1Client, error) {
	c, err := eventsclient.NewForConfigAndClient(m.GetConfig(), m.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("making a client for Events: %w", err)
	}
	return c, nil
}

func newEventWriter(log *slog.Logger, scheme *runtime.Scheme, controller string, create func(context.Context, *eventsv1.Event) error) *EventWriter {
	host, _ := os.Hostname()
	w := &EventWriter{log: log, scheme: scheme, controller: controller, instance: controller + "-" + host, create: create, telling: newTelling()}
	w.telling.most = mostEvents
	return w
}

// NeedLeaderElection says that every node tells.
func (*EventWriter) NeedLeaderElection() bool { return false }

// Start writes until the context ends.
func (w *EventWriter) Start(ctx context.Context) error {
	w.life = ctx
	return w.telling.run(ctx)
}

// Eventf implements events.EventRecorder. It does not wait.
func (w *EventWriter) Eventf(about, related runtime.Object, kind, reason, action, note string, args ...any) {
	ref, err := reference.GetReference(w.scheme, about)
	if err != nil {
		w.log.Warn("an Event is about something unknown", "reason", reason, "error", err)
		return
	}
	at := time.Now()
	w.telling.tell(func() { w.write(w.event(ref, at, kind, reason, action, fmt.Sprintf(note, args...))) })
}

func (w *EventWriter) event(about *corev1.ObjectReference, at time.Time, kind, reason, action, note string) *eventsv1.Event {
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: util.GenerateEventName(about.Name, at.UnixNano())},
		EventTime:  metav1.NewMicroTime(at), ReportingController: w.controller, ReportingInstance: w.instance,
		Regarding: *about, Type: kind, Reason: reason, Action: action, Note: note,
	}
}

// write writes one Event, as often as it takes to reach the API server. What that refuses is not sent again.
func (w *EventWriter) write(e *eventsv1.Event) {
	for {
		err := w.create(w.life, e)
		var refused *apierrors.StatusError
		switch {
		case err == nil || w.life.Err() != nil || apierrors.IsAlreadyExists(err), // the answer to the first try was lost
			apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return
		case errors.As(err, &refused):
			w.log.Warn("an Event is refused", "about", e.Regarding.Namespace+"/"+e.Regarding.Name, "reason", e.Reason, "error", err)
			return
		}
		w.log.Debug("an Event cannot be written yet", "error", err)
		select {
		case <-w.life.Done():
		case <-time.After(eventAgain):
		}
	}
}
