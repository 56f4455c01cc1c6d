package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// configuration is what the configuration objects come to.
type configuration struct {
	policy   *policy.Policy
	pools    []v1beta1.IPAddressPool
	problems []policy.Problem
	objects  map[string]runtime.Object // those that were compiled, by UID
}

// compile reads the configuration objects of the namespace and compiles them.
func compile(ctx context.Context, c client.Reader, namespace string, last *policy.Policy) (configuration, error) {
	var pools v1beta1.IPAddressPoolList
	if err := c.List(ctx, &pools, client.InNamespace(namespace)); err != nil {
		return configuration{}, fmt.Errorf("listing IPAddressPools: %w", err)
	}
	var ads v1beta1.L2AdvertisementList
	if err := c.List(ctx, &ads, client.InNamespace(namespace)); err != nil {
		return configuration{}, fmt.Errorf("listing L2Advertisements: %w", err)
	}
	out := configuration{pools: pools.Items, objects: map[string]runtime.Object{}}
	for i := range pools.Items {
		out.objects[string(pools.Items[i].UID)] = &pools.Items[i]
	}
	for i := range ads.Items {
		out.objects[string(ads.Items[i].UID)] = &ads.Items[i]
	}
	out.policy, out.problems = policy.Compile(policy.Objects{Pools: pools.Items, L2Advertisements: ads.Items}, last)
	return out, nil
}

// namespaceLabels returns the labels of every namespace by its name.
func namespaceLabels(ctx context.Context, c client.Reader) (map[string]map[string]string, error) {
	var list corev1.NamespaceList
	if err := c.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing Namespaces: %w", err)
	}
	out := make(map[string]map[string]string, len(list.Items))
	for i := range list.Items {
		out[list.Items[i].Name] = list.Items[i].Labels
	}
	return out, nil
}

// problemLog remembers which problems were told, so that each is logged and told as an Event once, not at every pass.
type problemLog struct{ told map[policy.Problem]struct{} }

// tell logs what is new among the problems and what is over, and records what is new in one Event for each object and
// reason: the recorder takes a second one for the first one's repetition, and drops its message.
func (p *problemLog) tell(c configuration, log *slog.Logger, recorder events.EventRecorder) {
	now := make(map[policy.Problem]struct{}, len(c.problems))
	var order []problemKind
	messages := map[problemKind][]string{}
	for _, x := range c.problems {
		now[x] = struct{}{}
		if _, ok := p.told[x]; ok {
			continue
		}
		log.Warn(x.Message, "kind", x.Object.Kind, "object", x.Object.Name, "reason", x.Reason)
		kind := problemKind{x.Object.UID, x.Reason}
		if messages[kind] == nil {
			order = append(order, kind)
		}
		messages[kind] = append(messages[kind], x.Message)
	}
	for _, kind := range order {
		record(recorder, c.objects[kind.uid], corev1.EventTypeWarning, kind.reason, "Compile", strings.Join(messages[kind], "; "))
	}
	for x := range p.told {
		if _, ok := now[x]; !ok {
			log.Info("no longer a problem: "+x.Message, "kind", x.Object.Kind, "object", x.Object.Name)
		}
	}
	p.told = now
}

// problemKind is what an Event tells at once: the problems of one object for one reason. It is comparable.
type problemKind struct {
	uid    string
	reason verdict.Reason
}

// maxEventNote is the limit that the API server sets on an Event's note, in bytes; it refuses a longer one.
const maxEventNote = 1024

// record records an Event on an object.
func record(recorder events.EventRecorder, object runtime.Object, kind string, reason verdict.Reason, action, message string) {
	recorder.Eventf(object, nil, kind, string(reason), action, "%s", cut(message, maxEventNote))
}

// cut returns the text, or as much of it as has room in a number of bytes.
func cut(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}
