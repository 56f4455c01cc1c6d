package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// configuration is what the configuration objects come to.
type configuration struct {
	policy   *policy.Policy
	problems []policy.Problem
	objects  map[string]runtime.Object // those that were compiled, by UID
}

// compile compiles configuration objects, which stay in the result for Events about them.
func compile(objects policy.Objects, last *policy.Policy) configuration {
	out := configuration{objects: byUID(objects)}
	out.policy, out.problems = policy.Compile(objects, last)
	return out
}

// fault is what is wrong with one object that policy does not compile.
type fault struct {
	object client.Object
	verdict.Verdict
}

// add adds what was found wrong beside the compiled objects.
func (c *configuration) add(faults []fault) {
	for _, f := range faults {
		ref := policy.Ref{Kind: kindOf(f.object), Namespace: f.object.GetNamespace(), Name: f.object.GetName(), UID: string(f.object.GetUID())}
		c.objects[ref.UID] = f.object
		c.problems = append(c.problems, policy.Problem{Object: ref, Verdict: f.Verdict})
	}
}

// kindOf returns the kind of an object, which is its type's name; objects from a cache do not say it themselves.
func kindOf(o client.Object) string { return reflect.TypeOf(o).Elem().Name() }

// announcementObjects reads the configuration objects that say what is announced, but for Secrets.
func announcementObjects(ctx context.Context, c client.Reader, namespace string) (policy.Objects, error) {
	var pools v1beta1.IPAddressPoolList
	var ads v1beta1.L2AdvertisementList
	var peers v1beta2.BGPPeerList
	var bgpAds v1beta1.BGPAdvertisementList
	var profiles v1beta1.BFDProfileList
	var communities v1beta1.CommunityList
	err := listAll(ctx, c, namespace, &pools, &ads, &peers, &bgpAds, &profiles, &communities)
	return policy.Objects{
		Pools: pools.Items, L2Advertisements: ads.Items, BGPPeers: peers.Items, BGPAdvertisements: bgpAds.Items,
		BFDProfiles: profiles.Items, Communities: communities.Items, SecretsUnread: true,
	}, err
}

// passwords reads the Secrets that BGPPeers name. Only the speakers do, which open the sessions.
func passwords(ctx context.Context, c client.Reader, namespace string, o *policy.Objects) error {
	var list corev1.SecretList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("listing the Secrets of type %s in namespace %q: %w", corev1.SecretTypeBasicAuth, namespace, err)
	}
	named := map[policy.SecretKey]bool{}
	for i := range o.BGPPeers {
		if key, ok := policy.SecretOf(&o.BGPPeers[i]); ok {
			named[key] = true
		}
	}
	o.Secrets, o.SecretsUnread = map[policy.SecretKey]policy.Secret{}, false
	for i := range list.Items {
		s := &list.Items[i]
		if key := (policy.SecretKey{Namespace: s.Namespace, Name: s.Name}); named[key] {
			o.Secrets[key] = policy.Secret{Type: s.Type, Password: policy.Password(s.Data[corev1.BasicAuthPasswordKey])}
		}
	}
	return nil
}

// configurationObjects reads all configuration objects.
func configurationObjects(ctx context.Context, c client.Reader, namespace string) (policy.Objects, error) {
	out, err := announcementObjects(ctx, c, namespace)
	if err != nil {
		return out, err
	}
	var policies v1alpha1.AddressPolicyList
	var reservations v1alpha1.AddressReservationList
	var ranges v1alpha1.NodePortRangeList
	err = listAll(ctx, c, namespace, &policies, &reservations, &ranges)
	out.AddressPolicies, out.AddressReservations, out.NodePortRanges = policies.Items, reservations.Items, ranges.Items
	return out, err
}

// listAll fills the lists with the objects of the namespace.
func listAll(ctx context.Context, c client.Reader, namespace string, lists ...client.ObjectList) error {
	for _, l := range lists {
		if err := c.List(ctx, l, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("listing the configuration in namespace %q: %w", namespace, err)
		}
	}
	return nil
}

// byUID returns the objects by their UIDs.
func byUID(o policy.Objects) map[string]runtime.Object {
	out := map[string]runtime.Object{}
	addByUID(out, o.Pools)
	addByUID(out, o.L2Advertisements)
	addByUID(out, o.BGPPeers)
	addByUID(out, o.BGPAdvertisements)
	addByUID(out, o.BFDProfiles)
	addByUID(out, o.Communities)
	addByUID(out, o.AddressPolicies)
	addByUID(out, o.AddressReservations)
	addByUID(out, o.NodePortRanges)
	return out
}

func addByUID[T any, P interface {
	*T
	client.Object
}](out map[string]runtime.Object, list []T) {
	for i := range list {
		o := P(&list[i])
		out[string(o.GetUID())] = o
	}
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
