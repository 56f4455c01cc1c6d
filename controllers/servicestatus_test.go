package controllers

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 7, time.UTC)

// huazi is a Service that waits for an address.
func huazi(changes ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "huazi", UID: "u1", ResourceVersion: "41", Generation: 3},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

// assigned is what Fairlead makes of a Service.
func assigned(addresses ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		d := gives(addresses...)
		holds(addresses...)(s)
		annotated(allocator.AnnotationAllocatedFrom, "first-pool")(s)
		annotated(allocator.AnnotationAssignedAt, now.Format(time.RFC3339Nano))(s)
		says(metav1.ConditionTrue, d.Verdict)(s)
	}
}

func holds(addresses ...string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = ingress(parse(addresses), nil) }
}

func annotated(name, value string) func(*corev1.Service) {
	return func(s *corev1.Service) { metav1.SetMetaDataAnnotation(&s.ObjectMeta, name, value) }
}

func says(status metav1.ConditionStatus, v verdict.Verdict) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.Conditions = append(s.Status.Conditions, metav1.Condition{
			Type: ConditionAssigned, Status: status, Reason: string(v.Reason), Message: v.Message, ObservedGeneration: 2, LastTransitionTime: metav1.NewTime(now),
		})
	}
}

func parse(addresses []string) []netip.Addr {
	var out []netip.Addr
	for _, a := range addresses {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// gives is the decision for addresses of first-pool.
func gives(addresses ...string) allocator.Decision {
	return allocator.Decision{
		Addresses: parse(addresses), Pool: "first-pool", Complete: true,
		Verdict: verdict.Verdict{Reason: verdict.Assigned, Message: "assigned " + strings.Join(addresses, " and ") + ` from pool "first-pool"`},
	}
}

var exhausted = allocator.Decision{Verdict: verdict.Verdict{Reason: verdict.PoolExhausted, Message: `no address is free in pool "first-pool"`}}

// pretty renders a patch without its first four levels of noise: the precondition is checked apart.
func pretty(t *testing.T, patch []byte) string {
	t.Helper()
	var v struct {
		Metadata map[string]any `json:"metadata"`
		Status   map[string]any `json:"status"`
	}
	if err := json.Unmarshal(patch, &v); err != nil {
		t.Fatalf("%v in %s", err, patch)
	}
	if v.Metadata["uid"] != "u1" || v.Metadata["resourceVersion"] != "41" {
		t.Errorf("the patch %s does not hold for just the version that was read", patch)
	}
	delete(v.Metadata, "uid")
	delete(v.Metadata, "resourceVersion")
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestAssignPatch(t *testing.T) {
	c, ok := assign(huazi(func(s *corev1.Service) {
		s.Status.Conditions = []metav1.Condition{{Type: "example.com/Other", Status: "True", Reason: "R", LastTransitionTime: metav1.NewTime(now)}}
	}), gives("172.25.254.50", "fd00::50"), mode.Decision{}, now)
	if !ok {
		t.Fatal("nothing is written")
	}
	want := `{
 "metadata": {
  "annotations": {
   "fairlead.io/assigned-at": "2026-11-22T10:00:00.000000007Z",
   "metallb.io/ip-allocated-from-pool": "first-pool"
  }
 },
 "status": {
  "conditions": [
   {
    "lastTransitionTime": "2026-11-22T10:00:00Z",
    "message": "",
    "reason": "R",
    "status": "True",
    "type": "example.com/Other"
   },
   {
    "lastTransitionTime": "2026-11-22T10:00:00Z",
    "message": "assigned 172.25.254.50 and fd00::50 from pool \"first-pool\"",
    "observedGeneration": 3,
    "reason": "IPAllocated",
    "status": "True",
    "type": "fairlead.io/Assigned"
   }
  ],
  "loadBalancer": {
   "ingress": [
    {
     "ip": "172.25.254.50",
     "ipMode": "VIP"
    },
    {
     "ip": "fd00::50",
     "ipMode": "VIP"
    }
   ]
  }
 }
}`
	if diff := cmp.Diff(want, pretty(t, c.patch())); diff != "" {
		t.Errorf("the patch (-want +got):\n%s", diff)
	}
}

// TestAssign says when something is written, whether the write touches the addresses, and which Event tells it.
func TestAssign(t *testing.T) {
	const none, status, addresses = "nothing", "condition or annotation", "addresses"
	const renameIt = "Warning DeprecatedAnnotation metallb.universe.tf/address-pool still counts: rename it to metallb.io/address-pool"
	proxy := corev1.LoadBalancerIPModeProxy
	formerly := annotated("metallb.universe.tf/address-pool", "first-pool")
	noted := func(s *corev1.Service) {
		s.Status.Conditions[0].Message += "; by its former name: metallb.universe.tf/address-pool, rename it to metallb.io/address-pool"
	}
	cleared, lost := exhausted, gives("172.25.254.60")
	cleared.Cleared = parse([]string{"172.25.254.50"})
	lost.Lost = []allocator.Loss{{Address: netip.MustParseAddr("172.25.254.50"), To: allocator.Key{Namespace: "default", Name: "early"}, Why: " on the same port"}}
	for name, c := range map[string]struct {
		service  *corev1.Service
		decision allocator.Decision
		written  string
		event    string // kind, reason and message; "" for none
	}{
		"a first address":                {huazi(), gives("172.25.254.50"), addresses, `Normal IPAllocated assigned 172.25.254.50 from pool "first-pool"`},
		"all is so already":              {huazi(assigned("172.25.254.50")), gives("172.25.254.50"), none, ""},
		"the generation alone went on":   {huazi(assigned("172.25.254.50"), func(s *corev1.Service) { s.Generation = 99 }), gives("172.25.254.50"), none, ""},
		"no mode counts as VIP":          {huazi(assigned("172.25.254.50"), func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = nil }), gives("172.25.254.50"), none, ""},
		"another mode is the user's":     {huazi(assigned("172.25.254.50"), func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = &proxy }), gives("172.25.254.50"), none, ""},
		"MetalLB left it":                {huazi(holds("172.25.254.50"), annotated(allocator.AnnotationAllocatedFrom, "first-pool")), gives("172.25.254.50"), status, ""},
		"MetalLB left it, no annotation": {huazi(holds("172.25.254.50")), gives("172.25.254.50"), status, ""},
		"MetalLB left it, another mode":  {huazi(holds("172.25.254.50"), func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = nil }), gives("172.25.254.50"), status, ""},
		"the annotation is gone":         {huazi(assigned("172.25.254.50"), func(s *corev1.Service) { delete(s.Annotations, allocator.AnnotationAllocatedFrom) }), gives("172.25.254.50"), status, ""},
		"the annotation is wrong":        {huazi(assigned("172.25.254.50"), annotated(allocator.AnnotationAllocatedFrom, "x")), gives("172.25.254.50"), status, ""},
		"no time is made up":             {huazi(assigned("172.25.254.50"), func(s *corev1.Service) { delete(s.Annotations, allocator.AnnotationAssignedAt) }), gives("172.25.254.50"), none, ""},
		"waits, told for the first time": {huazi(), exhausted, status, `Warning PoolExhausted no address is free in pool "first-pool"`},
		"waits as before":                {huazi(says(metav1.ConditionFalse, exhausted.Verdict)), exhausted, none, ""},
		"waits for another reason":       {huazi(says(metav1.ConditionFalse, verdict.Verdict{Reason: verdict.NoPool, Message: "there is no pool"})), exhausted, status, `Warning PoolExhausted no address is free in pool "first-pool"`},
		"waited, and is served":          {huazi(says(metav1.ConditionFalse, exhausted.Verdict)), gives("172.25.254.50"), addresses, `Normal IPAllocated assigned 172.25.254.50 from pool "first-pool"`},
		"another address":                {huazi(assigned("172.25.254.50", "fd00::50")), gives("172.25.254.60"), addresses, `Normal IPMoved moved from 172.25.254.50 and fd00::50: assigned 172.25.254.60 from pool "first-pool"`},
		"a second family":                {huazi(assigned("172.25.254.50")), gives("172.25.254.50", "fd00::50"), addresses, `Normal IPMoved moved from 172.25.254.50: assigned 172.25.254.50 and fd00::50 from pool "first-pool"`},
		"the address was taken away":     {huazi(assigned("172.25.254.50")), exhausted, addresses, `Warning PoolExhausted no address is free in pool "first-pool"`},
		"the status was emptied by hand": {huazi(assigned("172.25.254.50"), holds()), gives("172.25.254.50"), addresses, `Normal IPAllocated assigned 172.25.254.50 from pool "first-pool"`},
		"a hostname was added by hand": {huazi(assigned("172.25.254.50"), func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{Hostname: "x"})
		}), gives("172.25.254.50"), addresses, `Normal IPAllocated assigned 172.25.254.50 from pool "first-pool"`},
		"garbage in the status, no wish":   {huazi(func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "x"}} }), exhausted, addresses, `Warning PoolExhausted no address is free in pool "first-pool"`},
		"kept, though it is not to be":     {huazi(assigned("172.25.254.50")), allocator.Decision{Addresses: parse([]string{"172.25.254.50"}), Pool: "first-pool", Verdict: verdict.Verdict{Reason: verdict.Orphaned, Message: "keeps it"}}, status, "Warning AddressOrphaned keeps it"},
		"cleared after its time of grace":  {huazi(assigned("172.25.254.50")), cleared, addresses, `Warning AddressCleared cleared 172.25.254.50, which is in no pool any more: no address is free in pool "first-pool"`},
		"cleared, and told":                {huazi(says(metav1.ConditionFalse, exhausted.Verdict)), exhausted, none, ""},
		"another one held it earlier":      {huazi(assigned("172.25.254.50")), lost, addresses, `Warning AddressConflict lost 172.25.254.50 to default/early, which held it earlier on the same port: assigned 172.25.254.60 from pool "first-pool"`},
		"an address joins, modes stay":     {huazi(assigned("172.25.254.50"), func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IPMode = &proxy }), gives("172.25.254.50", "fd00::50"), addresses, `Normal IPMoved moved from 172.25.254.50: assigned 172.25.254.50 and fd00::50 from pool "first-pool"`},
		"a former name":                    {huazi(formerly), gives("172.25.254.50"), addresses, `Normal IPAllocated assigned 172.25.254.50 from pool "first-pool" + ` + renameIt},
		"a former name, and it waits":      {huazi(formerly), exhausted, status, `Warning PoolExhausted no address is free in pool "first-pool" + ` + renameIt},
		"MetalLB left it, a former name":   {huazi(holds("172.25.254.50"), formerly), gives("172.25.254.50"), status, " + " + renameIt},
		"a former name comes later":        {huazi(assigned("172.25.254.50"), formerly), gives("172.25.254.50"), status, " + " + renameIt},
		"a former name was told":           {huazi(assigned("172.25.254.50"), formerly, noted), gives("172.25.254.50"), none, ""},
		"a former name was told, it moves": {huazi(assigned("172.25.254.50"), formerly, noted), gives("172.25.254.60"), addresses, `Normal IPMoved moved from 172.25.254.50: assigned 172.25.254.60 from pool "first-pool"`},
		"a former name is gone":            {huazi(assigned("172.25.254.50"), noted), gives("172.25.254.50"), status, ""},
		"MetalLB left it, it is not to be": {huazi(holds("10.0.0.1")), allocator.Decision{Addresses: parse([]string{"10.0.0.1"}), Verdict: verdict.Verdict{Reason: verdict.Orphaned, Message: "keeps it"}}, status, "Warning AddressOrphaned keeps it"},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.service.DeepCopy()
			got, ok := assign(c.service, c.decision, mode.Decision{}, now)
			for _, in := range got.after.LoadBalancer.Ingress {
				for _, old := range before.Status.LoadBalancer.Ingress {
					if old.IP == in.IP && old.IPMode != nil && *old.IPMode != *in.IPMode {
						t.Errorf("the mode of %s was %s and becomes %s", in.IP, *old.IPMode, *in.IPMode)
					}
				}
			}
			if diff := cmp.Diff(before, c.service); diff != "" {
				t.Errorf("the Service comes from the cache and was changed:\n%s", diff)
			}
			written, event := none, ""
			if ok {
				written = status
				if strings.Contains(pretty(t, got.patch()), `"loadBalancer"`) {
					written = addresses
				}
				if got.event != nil {
					event = got.event.kind + " " + string(got.event.Reason) + " " + got.event.Message
				}
				for _, x := range got.more {
					event += " + " + x.kind + " " + string(x.Reason) + " " + x.Message
				}
			}
			if written != c.written || event != c.event {
				t.Errorf("writes %s and tells %q\nwant   %s and       %q", written, event, c.written, c.event)
			}
		})
	}
}

func TestRelease(t *testing.T) {
	clusterIP := func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }
	for name, c := range map[string]struct {
		service *corev1.Service
		want    string // of the patch; "" for no write
	}{
		"never ours":               {huazi(clusterIP), ""},
		"never ours, but in use":   {huazi(clusterIP, annotated("metallb.io/address-pool", "x"), annotated("a", "b"), holds("10.0.0.1")), ""},
		"it was ours":              {huazi(assigned("172.25.254.50"), clusterIP, annotated("a", "b")), `{"fairlead.io/assigned-at":null,"metallb.io/ip-allocated-from-pool":null}`},
		"of it, the annotation":    {huazi(clusterIP, annotated(allocator.AnnotationAllocatedFrom, "x")), `{"metallb.io/ip-allocated-from-pool":null}`},
		"of it, the condition":     {huazi(clusterIP, says(metav1.ConditionFalse, exhausted.Verdict)), `null`},
		"it waited for an address": {huazi(says(metav1.ConditionFalse, exhausted.Verdict), clusterIP), `null`},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := release(c.service)
			if !ok {
				if c.want != "" {
					t.Error("nothing is written")
				}
				return
			}
			var v struct {
				Metadata struct {
					Annotations map[string]any `json:"annotations"`
				} `json:"metadata"`
				Status map[string]any `json:"status"`
			}
			if err := json.Unmarshal(got.patch(), &v); err != nil {
				t.Fatal(err)
			}
			annotations, _ := json.Marshal(v.Metadata.Annotations)
			status, _ := json.Marshal(v.Status)
			if string(annotations) != c.want || strings.Replace(string(status), "[]", "null", 1) != `{"conditions":null,"loadBalancer":{"ingress":null}}` {
				t.Errorf("annotations %s, status %s, want %q", annotations, status, c.want)
			}
			if got.event.Reason != verdict.Released || got.event.kind != "Normal" || got.event.Message != "the Service is of type ClusterIP now, so its address was freed" {
				t.Errorf("tells %v", got.event)
			}
		})
	}
}

// TestTextsFitTheAPI: the API server refuses a longer condition or Event, so that the whole write would fail.
func TestTextsFitTheAPI(t *testing.T) {
	long := gives("172.25.254.50")
	long.Message = strings.Repeat("ö", maxConditionMessage)
	c, ok := assign(huazi(func(s *corev1.Service) { s.ResourceVersion = "41" }), long, mode.Decision{}, now)
	if !ok {
		t.Fatal("nothing is written")
	}
	var v corev1.Service
	if err := json.Unmarshal(c.patch(), &v); err != nil {
		t.Fatal(err)
	}
	if m := v.Status.Conditions[0].Message; len(m) != maxConditionMessage || !utf8.ValidString(m) {
		t.Errorf("the condition's message has %d bytes", len(m))
	}
	v.Status.LoadBalancer.Ingress = ingress(long.Addresses, nil)
	v.UID, v.ResourceVersion = "u1", "41"
	if c, ok := assign(&v, long, mode.Decision{}, now); ok {
		t.Errorf("written again: %.100s", c.patch())
	}
	var r recorder
	record(&r, &v, "Warning", "R", "Allocate", "x"+long.Message)
	if n := r.take()[0].note; len(n) != maxEventNote-1 || !utf8.ValidString(n) {
		t.Errorf("the Event's note has %d bytes", len(n))
	}
}

// TestSeniority: assigned-at stands while at least one address stays, since it decides who keeps an address that two hold.
func TestSeniority(t *testing.T) {
	const old = "2026-01-01T00:00:00Z"
	later := now.Format(time.RFC3339Nano)
	since := annotated(allocator.AnnotationAssignedAt, old)
	unknown := func(s *corev1.Service) { delete(s.Annotations, allocator.AnnotationAssignedAt) }
	for name, c := range map[string]struct {
		service  *corev1.Service
		decision allocator.Decision
		want     string // what the annotation is then
	}{
		"a first address":                     {huazi(), gives("172.25.254.50"), later},
		"the same":                            {huazi(assigned("172.25.254.50"), since), gives("172.25.254.50"), old},
		"a second family joins":               {huazi(assigned("172.25.254.50"), since), gives("172.25.254.50", "fd00::50"), old},
		"one family goes":                     {huazi(assigned("172.25.254.50", "fd00::50"), since), gives("fd00::50"), old},
		"one of two moves":                    {huazi(assigned("172.25.254.50", "fd00::50"), since), gives("172.25.254.60", "fd00::50"), old},
		"the only one moves":                  {huazi(assigned("172.25.254.50"), since), gives("172.25.254.60"), later},
		"both move":                           {huazi(assigned("172.25.254.50", "fd00::50"), since), gives("172.25.254.60", "fd00::60"), later},
		"the only one goes":                   {huazi(assigned("172.25.254.50"), since), exhausted, ""},
		"unknown, the same":                   {huazi(assigned("172.25.254.50"), unknown), gives("172.25.254.50"), ""},
		"unknown, a second family joins":      {huazi(assigned("172.25.254.50"), unknown), gives("172.25.254.50", "fd00::50"), ""},
		"unknown, the only one moves":         {huazi(assigned("172.25.254.50"), unknown), gives("172.25.254.60"), later},
		"the status was emptied by hand":      {huazi(assigned("172.25.254.50"), since, holds()), gives("172.25.254.50"), later},
		"it waits, with a leftover of before": {huazi(since, says(metav1.ConditionFalse, exhausted.Verdict)), exhausted, old},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.service.Annotations[allocator.AnnotationAssignedAt]
			if change, ok := assign(c.service, c.decision, mode.Decision{}, now); ok {
				var v struct {
					Metadata struct {
						Annotations map[string]*string `json:"annotations"`
					} `json:"metadata"`
				}
				if err := json.Unmarshal(change.patch(), &v); err != nil {
					t.Fatal(err)
				}
				if value, ok := v.Metadata.Annotations[allocator.AnnotationAssignedAt]; ok && value == nil {
					got = ""
				} else if ok {
					got = *value
				}
			}
			if got != c.want {
				t.Errorf("assigned at %q, want %q", got, c.want)
			}
		})
	}
}

// TestOrphanedSince: the beginning of the time of grace outlives the process.
func TestOrphanedSince(t *testing.T) {
	orphan := gives("172.25.254.50")
	orphan.Complete, orphan.OrphanedSince, orphan.Verdict = false, now, verdict.Verdict{Reason: verdict.Orphaned, Message: "keeps it"}
	c, ok := assign(huazi(assigned("172.25.254.50")), orphan, mode.Decision{}, now.Add(time.Second))
	if !ok || !strings.Contains(string(c.patch()), `"fairlead.io/orphaned-since":"2026-11-22T10:00:00.000000007Z"`) {
		t.Errorf("written: %s", c.patch())
	}
	s := huazi(assigned("172.25.254.50"), annotated(allocator.AnnotationOrphanedSince, now.Format(time.RFC3339Nano)))
	s.Status.Conditions = nil
	says(metav1.ConditionTrue, orphan.Verdict)(s)
	if c, ok := assign(s, orphan, mode.Decision{}, now.Add(time.Minute)); ok {
		t.Errorf("written again: %s", c.patch())
	}
	if c, ok := assign(s, gives("172.25.254.60"), mode.Decision{}, now); !ok || !strings.Contains(string(c.patch()), `"fairlead.io/orphaned-since":null`) {
		t.Errorf("written when it got another one: %s", c.patch())
	}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	if c, ok := release(s); !ok || !strings.Contains(string(c.patch()), `"fairlead.io/orphaned-since":null`) {
		t.Errorf("written when it was released: %s", c.patch())
	}
}

// TestAssignMode says how a Service gets to be served by IPVS, and back, and which Event tells it. The address stays.
func TestAssignMode(t *testing.T) {
	is := func(reason verdict.Reason, message string, proxied ...string) mode.Decision {
		return mode.Decision{Verdict: verdict.Verdict{Reason: reason, Message: message}, Proxied: parse(proxied)}
	}
	after := func(m mode.Decision) func(*corev1.Service) {
		return func(s *corev1.Service) {
			if c, ok := assign(s.DeepCopy(), gives("172.25.254.50"), m, now); ok {
				s.Status.LoadBalancer, s.Status.Conditions = c.after.LoadBalancer, c.after.Conditions
			}
		}
	}
	waits, serves := is(verdict.NotProgrammed, "node a does not"), is(verdict.Programmed, "all do", "172.25.254.50")
	silent, nothing := is(verdict.NoProgrammer, "nobody reports"), mode.Decision{}
	for name, c := range map[string]struct {
		before, now mode.Decision
		want        string // mode, condition and Event; "" where nothing is written
	}{
		"does not ask":                    {nothing, nothing, ""},
		"asks":                            {nothing, waits, "VIP False node a does not, Normal NotProgrammed node a does not"},
		"waits":                           {waits, waits, ""},
		"waits for another node":          {waits, is(verdict.NotProgrammed, "node b does not"), "VIP False node b does not"},
		"all serve it":                    {waits, serves, "Proxy True all do, Normal Programmed all do"},
		"all serve it already":            {nothing, serves, "Proxy True all do, Normal Programmed all do"},
		"is served":                       {serves, serves, ""},
		"no programmer reports":           {serves, silent, "VIP False nobody reports, Warning NoProgrammer nobody reports"},
		"asks no more":                    {serves, nothing, "VIP , Normal LeftToKubeProxy the Service is not to be served by IPVS any more, so kube-proxy serves it"},
		"asks no more, was not served":    {waits, nothing, "VIP "},
		"asks for something else instead": {serves, is(verdict.InvalidRequest, "what"), "VIP False what, Warning InvalidRequest what"},
	} {
		t.Run(name, func(t *testing.T) {
			s := huazi(assigned("172.25.254.50"), after(c.before))
			got, ok := assign(s, gives("172.25.254.50"), c.now, now)
			text := ""
			if ok {
				text = string(*got.after.LoadBalancer.Ingress[0].IPMode) + " "
				if x := meta.FindStatusCondition(got.after.Conditions, ConditionProgrammed); x != nil {
					text += string(x.Status) + " " + x.Message
				}
				for _, e := range got.more {
					text += ", " + e.kind + " " + string(e.Reason) + " " + e.Message
				}
				if got.event != nil {
					t.Errorf("an Event about the address: %v", got.event)
				}
				if _, moved := got.notes[allocator.AnnotationAssignedAt]; moved {
					t.Error("the time of assignment changes")
				}
			}
			if text != c.want {
				t.Errorf("%q, want %q", text, c.want)
			}
		})
	}
}
