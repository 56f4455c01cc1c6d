package allocator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/portrange"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

func TestParseNodePorts(t *testing.T) {
	for text, want := range map[string]string{
		"http=33333":                 "http=33333",
		" http=33333 , https = 443 ": "http=33333,https=443",
		"auto":                       "auto",
		"http=auto,33333":            "http=auto,33333",
		"":                           `error: "" is neither of the form name=33333 nor name=auto`,
		"http":                       `error: "http" is neither of the form name=33333 nor name=auto`,
		"http=":                      `error: "http=" is neither of the form name=33333 nor name=auto`,
		"http=0":                     `error: "http=0" is neither of the form name=33333 nor name=auto`,
		"http=65536":                 `error: "http=65536" is neither of the form name=33333 nor name=auto`,
		"http=33000-33999":           `error: "http=33000-33999" is neither of the form name=33333 nor name=auto`,
		"http=33333,":                `error: "" is neither of the form name=33333 nor name=auto`,
		"http=33333,http=33334":      `error: it asks twice for a port for "http"`,
		"33000-33099/udp, 33333":     "33000-33099/UDP,33333",
		"33000-33099/UDP,33099/UDP":  `error: it has 33099/UDP twice`,
		"33000-32999/UDP":            `error: "33000-32999/UDP" ends before it starts`,
	} {
		list, err := ParseNodePorts(text)
		got := NodePortsText(list)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzParseNodePorts(f *testing.F) {
	f.Add("http=33333,https=auto")
	f.Add("http=33333,33000-33099/UDP")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseNodePorts(text)
		if err != nil {
			return
		}
		if back, err := ParseNodePorts(NodePortsText(list)); err != nil || !slices.Equal(back, list) {
			t.Fatalf("%q gives %v, which is read as %v, %v", text, list, back, err)
		}
	})
}

// openPorts is a NodePortRange for TCP and UDP that admits the namespaces, or all.
func openPorts(name, ports string, namespaces ...string) v1alpha1.NodePortRange {
	return v1alpha1.NodePortRange{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec:       v1alpha1.NodePortRangeSpec{Ports: strings.Split(ports, " "), Services: &v1alpha1.ServiceSelector{Namespaces: namespaces}},
	}
}

func ranges(t testing.TB, list ...v1alpha1.NodePortRange) *policy.Policy {
	t.Helper()
	p, _ := policy.Compile(policy.Objects{NodePortRanges: list, ServiceNodePorts: policy.DefaultServiceNodePorts()}, nil)
	return p
}

// portful is a Service of namespace x with the ports http (TCP) and dns (UDP), as the words say: "asks=...", "has=...", "forges=...",
// "ranges=...", "nodePort=...", "health=...", "age=...", "assigned=...", "uid=...", "deleting", "headless", "external", "single".
func portful(name string, words ...string) *corev1.Service {
	namespace, name, ok := strings.Cut(name, "/")
	if !ok {
		namespace, name = "x", namespace
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), Annotations: map[string]string{}, CreationTimestamp: metav1.Unix(1000, 0)}}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP}, {Name: "dns", Protocol: corev1.ProtocolUDP}}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		n := 0
		_, _ = fmt.Sscanf(value, "%d", &n)
		switch key {
		case "asks":
			s.Annotations[AnnotationNodePorts] = value
		case "ranges":
			s.Annotations[portrange.Annotation] = value
		case "has":
			shows(s, value)
		case "forges":
			s.Annotations[AnnotationNodePortsAssigned] = value
		case "nodePort":
			s.Spec.Ports[0].NodePort = int32(n)
		case "health":
			s.Spec.HealthCheckNodePort = int32(n)
		case "age":
			s.CreationTimestamp = metav1.Unix(1000-int64(n), 0)
		case "assigned":
			s.Annotations[AnnotationAssignedAt] = time.Unix(int64(n), 0).UTC().Format(time.RFC3339Nano)
		case "uid":
			s.UID = types.UID(value)
		case "deleting":
			s.DeletionTimestamp = &metav1.Time{}
		case "headless":
			s.Spec.ClusterIP = corev1.ClusterIPNone
		case "external":
			s.Spec.Type = corev1.ServiceTypeExternalName
		case "single":
			s.Spec.Ports = s.Spec.Ports[:1]
		case "unnamed":
			s.Spec.Ports = []corev1.ServicePort{{}}
		default:
			panic(word)
		}
	}
	return s
}

// shows has the Service show ports as the controller leaves them, or none.
func shows(s *corev1.Service, ports string) {
	s.Status.Conditions = nil
	delete(s.Annotations, AnnotationNodePortsAssigned)
	if ports != "" {
		s.Annotations[AnnotationNodePortsAssigned] = ports
		s.Status.Conditions = []metav1.Condition{{Type: ConditionNodePorts, Message: "assigned " + ports + " from a NodePortRange"}}
	}
}

// TestDecideNodePorts is the specification: who gets which port, and in which words others do not.
func TestDecideNodePorts(t *testing.T) {
	type services = []*corev1.Service
	bad := openPorts("bad", "33100-33199 x")
	for _, c := range []struct {
		name     string
		ranges   []v1alpha1.NodePortRange
		services services
		want     []string // for each Service: what it has, the verdict
	}{
		{"a number", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http=33333")}, []string{
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`}},
		{"whoever does not ask", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a")}, []string{``}},
		{"any", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=auto")}, []string{
			`http=33000,dns=33000: assigned http=33000,dns=33000 from NodePortRange "r" (NodePortsAssigned)`}},
		{"any for one of them", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=dns=auto")}, []string{
			`dns=33000: assigned dns=33000 from NodePortRange "r" (NodePortsAssigned)`}},
		{"without a name", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=33333", "single"), portful("b", "asks=33334", "unnamed")}, []string{
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`,
			`33334: assigned 33334 from NodePortRange "r" (NodePortsAssigned)`}},
		{"the next one where the first is taken", []v1alpha1.NodePortRange{openPorts("r", "20000 33000-33001"), openPorts("s", "40000")},
			services{portful("a", "asks=http=auto", "age=4"), portful("b", "asks=http=auto", "age=3"), portful("c", "asks=http=33000"), portful("d", "asks=http=auto", "age=2"), portful("e", "asks=http=auto", "age=1")}, []string{
				`http=20000: assigned http=20000 from NodePortRange "r" (NodePortsAssigned)`,
				`http=33001: assigned http=33001 from NodePortRange "r" (NodePortsAssigned)`,
				`http=33000: assigned http=33000 from NodePortRange "r" (NodePortsAssigned)`,
				`http=40000: assigned http=40000 from NodePortRange "s" (NodePortsAssigned)`,
				`: no TCP port is free in NodePortRanges "r", "s" (NodePortsExhausted)`}},
		{"of two that ask for one, the older", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "asks=http=33333"), portful("b", "asks=http=33333", "age=1")}, []string{
			`: 33333/TCP belongs to Service x/b (NodePortTaken)`,
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`}},
		{"whoever has it keeps it", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "asks=http=33333", "has=http=33333"), portful("b", "asks=http=33333", "age=1")}, []string{
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`,
			`: 33333/TCP belongs to Service x/a (NodePortTaken)`}},
		{"of two that show one, the older", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "asks=http=33333", "has=http=33333"), portful("b", "asks=http=33333", "has=http=33333", "age=1")}, []string{
			`: 33333/TCP belongs to Service x/b (NodePortTaken)`,
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`}},
		{"of two that show one, whose address is older", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "asks=http=33333", "has=http=33333", "assigned=5"), portful("b", "asks=http=33333", "has=http=33333", "age=1")}, []string{
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`,
			`: 33333/TCP belongs to Service x/a (NodePortTaken)`}},
		{"of two of one age, the lower UID", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "asks=auto", "has=http=33333", "single", "uid=2"), portful("b", "asks=auto", "has=http=33333", "single", "uid=1")}, []string{
			`: no TCP port is free in NodePortRange "r" (NodePortsExhausted)`,
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`}},
		{"what only the annotation says does not count", []v1alpha1.NodePortRange{openPorts("r", "33333-33334")}, services{portful("a", "asks=http=33333", "has=http=33333"), portful("b", "asks=auto", "forges=http=33333", "single", "age=1"),
			portful("c", "forges=http=33334")}, []string{
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`,
			`http=33334: assigned http=33334 from NodePortRange "r" (NodePortsAssigned)`, ``}},
		{"one number for two protocols", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "asks=http=33333,dns=33333")}, []string{
			`http=33333,dns=33333: assigned http=33333,dns=33333 from NodePortRange "r" (NodePortsAssigned)`}},
		{"somebody's nodePort", []v1alpha1.NodePortRange{openPorts("r", "33333 33334")}, services{portful("a", "asks=http=33333"), portful("b", "nodePort=33333")}, []string{
			`: 33333/TCP is a nodePort of Service x/b (NodePortTaken)`, ``}},
		{"somebody's healthCheckNodePort", []v1alpha1.NodePortRange{openPorts("r", "33333 33334")}, services{portful("a", "asks=http=auto"), portful("b", "health=33333")}, []string{
			`http=33334: assigned http=33334 from NodePortRange "r" (NodePortsAssigned)`, ``}},
		{"a nodePort that comes later", []v1alpha1.NodePortRange{openPorts("r", "33333 33334")}, services{portful("a", "asks=http=33333", "has=http=33333", "age=9"), portful("b", "nodePort=33333")}, []string{
			`: 33333/TCP is a nodePort of Service x/b (NodePortTaken)`, ``}},
		{"outside", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http=40000"), portful("b", "asks=http=30080"), portful("c", "asks=dns=53")}, []string{
			`: 40000/TCP is in no NodePortRange (NodePortOutside)`,
			`: 30080/TCP is the API server's to give, which has 30000-32767: ask for it by spec.ports[].nodePort (NodePortOutside)`,
			`: 53/UDP usually belongs to DNS, and no NodePortRange has it by spec.allowReserved (NodePortOutside)`}},
		{"no range", nil, services{portful("a", "asks=auto"), portful("b", "asks=http=33333", "has=http=33333")}, []string{
			`: no NodePortRange with TCP ports admits the Service; no NodePortRange with UDP ports admits the Service (NodePortNotAllowed)`,
			`: 33333/TCP is in no NodePortRange (NodePortOutside)`}},
		{"another namespace's", []v1alpha1.NodePortRange{openPorts("r", "33000-33999", "y")}, services{portful("a", "asks=http=33333"), portful("y/b", "asks=http=33333", "single"), portful("c", "asks=http=33334", "has=http=33334")}, []string{
			`: NodePortRange "r", which has 33333/TCP, does not admit the Service (NodePortNotAllowed)`,
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`,
			`: NodePortRange "r", which has 33334/TCP, does not admit the Service (NodePortNotAllowed)`}},
		{"a bad range keeps what it gave and gives nothing new", []v1alpha1.NodePortRange{bad}, services{portful("a", "asks=http=33100", "has=http=33100"), portful("b", "asks=http=33101"), portful("c", "asks=http=auto")}, []string{
			`http=33100: assigned http=33100 from NodePortRange "bad" (NodePortsAssigned)`,
			`: NodePortRange "bad", which has 33101/TCP, gives nothing new, since it is bad: NodePortRange "bad", spec.ports[1]: "x" is neither a port from 1 to 65535 nor a range of them such as 33000-33999 (NodePortRangeInvalid)`,
			`: NodePortRange "bad" gives nothing new, since it is bad: NodePortRange "bad", spec.ports[1]: "x" is neither a port from 1 to 65535 nor a range of them such as 33000-33999 (NodePortRangeInvalid)`}},
		{"another number than it has", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http=33334", "has=http=33333")}, []string{
			`http=33334: assigned http=33334 from NodePortRange "r" (NodePortsAssigned)`}},
		{"another number that is taken: it keeps what it has", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http=33334", "has=http=33333"), portful("b", "asks=http=33334", "has=http=33334")}, []string{
			`http=33333: has http=33333 only: 33334/TCP belongs to Service x/b (NodePortTaken)`,
			`http=33334: assigned http=33334 from NodePortRange "r" (NodePortsAssigned)`}},
		{"what is given up is free in the next pass", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "has=http=33333"), portful("b", "asks=http=33333")}, []string{
			``, `: 33333/TCP belongs to Service x/a (NodePortTaken)`}},
		{"one of two", []v1alpha1.NodePortRange{openPorts("r", "33333")}, services{portful("a", "asks=http=33333,dns=33334")}, []string{
			`http=33333: has http=33333 only: 33334/UDP is in no NodePortRange (NodePortOutside)`}},
		{"being deleted", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http=33333,dns=33333", "has=http=33333", "deleting")}, []string{
			`http=33333: has http=33333 only: the Service is being deleted and gets no new port (ServiceDeleting)`}},
		{"what does not parse", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http"), portful("b", "asks=web=33333", "has=http=33334"), portful("c", "asks=33335"), portful("d", "has=nonsense")}, []string{
			`: fairlead.io/node-ports: "http" is neither of the form name=33333 nor name=auto (InvalidRequest)`,
			`http=33334: keeps http=33334: fairlead.io/node-ports: the Service has no port with the name "web" (InvalidRequest)`,
			`: fairlead.io/node-ports: say which of the Service's ports "33335" is for, as in http=33335 (InvalidRequest)`,
			``}},
		{"without a cluster IP", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=auto", "headless"), portful("b", "asks=auto", "has=http=33333", "external"), portful("c", "headless")}, []string{
			`: fairlead.io/node-ports: a Service of type ExternalName or without a cluster IP has no ports of nodes (InvalidRequest)`,
			`: fairlead.io/node-ports: a Service of type ExternalName or without a cluster IP has no ports of nodes (InvalidRequest)`, ``}},
		{"ranges", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33099/UDP,33000")}, []string{
			`33000-33099/UDP,33000/TCP: assigned 33000-33099/UDP,33000/TCP from NodePortRange "r" (NodePortsAssigned)`}},
		{"ranges beside ports", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=auto, ranges", "ranges=33000-33099/UDP"), portful("b", "asks=ranges,http=33100", "ranges=33000-33099")}, []string{
			`http=33101,dns=33100,33000-33099/UDP: assigned http=33101,dns=33100,33000-33099/UDP from NodePortRange "r" (NodePortsAssigned)`,
			`http=33100,33000-33099/TCP: assigned http=33100,33000-33099/TCP from NodePortRange "r" (NodePortsAssigned)`}},
		{"a range from two NodePortRanges", []v1alpha1.NodePortRange{openPorts("r", "33000-33099"), openPorts("s", "33100-33199")}, services{portful("a", "asks=ranges", "ranges=33050-33149")}, []string{
			`33050-33149/TCP: assigned 33050-33149/TCP from NodePortRanges "r", "s" (NodePortsAssigned)`}},
		{"of two ranges with a port in common, the older", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33050"), portful("b", "asks=ranges", "ranges=33050-33099", "age=1")}, []string{
			`: 33000-33050/TCP: 33050/TCP belongs to Service x/b (NodePortTaken)`,
			`33050-33099/TCP: assigned 33050-33099/TCP from NodePortRange "r" (NodePortsAssigned)`}},
		{"whoever has a range keeps it", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33050", "has=33000-33050/TCP"), portful("b", "asks=ranges,http=33001", "ranges=33050/UDP,33051", "age=1")}, []string{
			`33000-33050/TCP: assigned 33000-33050/TCP from NodePortRange "r" (NodePortsAssigned)`,
			`33050/UDP,33051/TCP: has 33050/UDP,33051/TCP only: 33001/TCP belongs to Service x/a (NodePortTaken)`}},
		{"a range in which somebody has a port", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33050,33060-33070"), portful("b", "asks=http=33050", "has=http=33050"), portful("c", "nodePort=33065")}, []string{
			`: 33000-33050/TCP: 33050/TCP belongs to Service x/b; 33060-33070/TCP: 33065/TCP is a nodePort of Service x/c (NodePortTaken)`,
			`http=33050: assigned http=33050 from NodePortRange "r" (NodePortsAssigned)`, ``}},
		{"a range beside its own port", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http=33050,ranges", "ranges=33000-33050")}, []string{
			`http=33050: has http=33050 only: 33000-33050/TCP: the Service has 33050/TCP already, for another one of its ports (NodePortTaken)`}},
		{"a range that grows", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33199", "has=33000-33099/TCP")}, []string{
			`33000-33199/TCP: assigned 33000-33199/TCP from NodePortRange "r" (NodePortsAssigned)`}},
		{"a range that is to grow and cannot: it keeps what it has", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33199", "has=33000-33099/TCP"), portful("b", "asks=http=33150", "age=1")}, []string{
			`33000-33099/TCP: has 33000-33099/TCP only: 33000-33199/TCP: 33150/TCP belongs to Service x/b (NodePortTaken)`,
			`http=33150: assigned http=33150 from NodePortRange "r" (NodePortsAssigned)`}},
		{"a range that shrinks: the rest is free in the next pass", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33009", "has=33000-33099/TCP"), portful("b", "asks=http=33050")}, []string{
			`33000-33009/TCP: assigned 33000-33009/TCP from NodePortRange "r" (NodePortsAssigned)`,
			`: 33050/TCP belongs to Service x/a (NodePortTaken)`}},
		{"a range that is asked for no more", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=http=33333", "ranges=33000-33009", "has=33000-33009/TCP"), portful("b", "has=33010-33019/TCP")}, []string{
			`http=33333: assigned http=33333 from NodePortRange "r" (NodePortsAssigned)`, ``}},
		{"a range that reaches outside", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=32700-33099"), portful("b", "asks=ranges", "ranges=33990-34000/UDP"), portful("c", "asks=ranges", "ranges=10200-10300")}, []string{
			`: 32700-33099/TCP: 32700/TCP is the API server's to give, which has 30000-32767: ask for it by spec.ports[].nodePort (NodePortOutside)`,
			`: 33990-34000/UDP: 34000/UDP is in no NodePortRange (NodePortOutside)`,
			`: 10200-10300/TCP: 10200/TCP is in no NodePortRange (NodePortOutside)`}},
		{"a range with what a cluster needs", []v1alpha1.NodePortRange{openPorts("r", "10000-10247 10260-10300")}, services{portful("a", "asks=ranges", "ranges=10200-10300")}, []string{
			`: 10200-10300/TCP: 10248/TCP usually belongs to the kubelet, kube-proxy and the control plane, and no NodePortRange has it by spec.allowReserved (NodePortOutside)`}},
		{"a range of another namespace's", []v1alpha1.NodePortRange{openPorts("r", "33000-33099"), openPorts("s", "33100-33199", "y")}, services{portful("a", "asks=ranges", "ranges=33050-33149")}, []string{
			`: 33050-33149/TCP: NodePortRange "s", which has 33100/TCP, does not admit the Service (NodePortNotAllowed)`}},
		{"a range of a bad one", []v1alpha1.NodePortRange{bad}, services{portful("a", "asks=ranges", "ranges=33110-33119", "has=33110-33119/TCP"), portful("b", "asks=ranges", "ranges=33120-33129")}, []string{
			`33110-33119/TCP: assigned 33110-33119/TCP from NodePortRange "bad" (NodePortsAssigned)`,
			`: 33120-33129/TCP: NodePortRange "bad", which has 33120/TCP, gives nothing new, since it is bad: NodePortRange "bad", spec.ports[1]: "x" is neither a port from 1 to 65535 nor a range of them such as 33000-33999 (NodePortRangeInvalid)`}},
		{"a range of a Service that is being deleted", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{portful("a", "asks=ranges", "ranges=33000-33009,33020", "has=33000-33009/TCP", "deleting")}, []string{
			`33000-33009/TCP: has 33000-33009/TCP only: the Service is being deleted and gets no new port (ServiceDeleting)`}},
		{"ranges that are none", []v1alpha1.NodePortRange{openPorts("r", "33000-33999")}, services{
			portful("a", "asks=ranges"), portful("b", "asks=ranges", "ranges=33000-70000", "has=33000-33009/TCP"), portful("c", "asks=33000-33009/TCP"), portful("d", "asks=,ranges", "ranges=33500"),
			portful("e", "asks=ranges", "ranges=33000-33009,33009/TCP")}, []string{
			`: fairlead.io/node-ports: "ranges" stands for the ranges of the annotation fairlead.io/port-ranges, which the Service does not have (InvalidRequest)`,
			`33000-33009/TCP: keeps 33000-33009/TCP: fairlead.io/port-ranges: "33000-70000" is neither a port from 1 to 65535 nor a range of them such as 10000-20000/UDP (InvalidRequest)`,
			`: fairlead.io/node-ports: ranges such as 33000-33009/TCP belong into the annotation fairlead.io/port-ranges; here, ask for them by "ranges" (InvalidRequest)`,
			`33500/TCP: assigned 33500/TCP from NodePortRange "r" (NodePortsAssigned)`,
			`: fairlead.io/port-ranges: 33000-33009/TCP and 33009/TCP overlap (InvalidRequest)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []NodePortService
			for _, s := range c.services {
				list = append(list, NodePortServiceOf(s, nil))
			}
			decisions := DecideNodePorts(NodePortView{Policy: ranges(t, c.ranges...), Services: list}).Decisions
			for i, d := range decisions {
				got := ""
				if d.Reason != "" {
					got = NodePortsText(d.Ports) + ": " + d.String()
				}
				if got != c.want[i] {
					t.Errorf("%s:\n%s, want\n%s", list[i].Key, got, c.want[i])
				}
				if d.Complete != (d.Reason == verdict.NodePortsAssigned) {
					t.Errorf("%s is complete: %v", list[i].Key, d.Complete)
				}
			}
		})
	}
}

// TestOnlyTheStatusConfirmsAPort: in each of the ways in which the controller says what a Service has, and in no other, whatever
// the Service's user may have written that is quoted.
func TestOnlyTheStatusConfirmsAPort(t *testing.T) {
	for message, want := range map[string]bool{
		`assigned http=33333 from NodePortRange "r"`:                                     true,
		`has http=33333 only: 33334/TCP belongs to Service x/b`:                          true,
		`keeps http=33333: fairlead.io/node-ports: "http" is neither`:                    true,
		`assigned http=33333,dns=33333 from NodePortRange "r"`:                           false,
		`assigned http=3333 from NodePortRange "r"`:                                      false,
		`fairlead.io/node-ports: "assigned http=33333 from" is neither of the form name`: false,
		`33333/TCP is in no NodePortRange`:                                               false,
		``:                                                                               false,
	} {
		s := portful("a", "asks=http=33333", "has=http=33333")
		s.Status.Conditions[0].Message = message
		if got := len(NodePortServiceOf(s, nil).Held) == 1; got != want {
			t.Errorf("%q confirms the port: %v", message, got)
		}
	}
}

func TestNodePortServiceReadsLabels(t *testing.T) {
	r := openPorts("r", "33333")
	r.Spec.Services = &v1alpha1.ServiceSelector{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "games"}}, Labels: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "game"}},
	}
	for _, c := range []struct{ namespace, service, want string }{{"games", "game", "http=33333"}, {"games", "other", ""}, {"other", "game", ""}} {
		s := portful("a", "asks=http=33333")
		s.Labels = map[string]string{"app": c.service}
		d := DecideNodePorts(NodePortView{Policy: ranges(t, r), Services: []NodePortService{NodePortServiceOf(s, labels.Set{"team": c.namespace})}}).Decisions
		if got := NodePortsText(d[0].Ports); got != c.want {
			t.Errorf("%+v: it has %q", c, got)
		}
	}
}

func TestNodePortUsage(t *testing.T) {
	var list []NodePortService
	for _, s := range []*corev1.Service{portful("a", "asks=auto"), portful("b", "nodePort=33009"), portful("c", "has=http=33008"), portful("d", "asks=ranges", "ranges=33002-33004")} {
		list = append(list, NodePortServiceOf(s, nil))
	}
	usage := DecideNodePorts(NodePortView{Policy: ranges(t, openPorts("r", "33000-33009"), openPorts("s", "40000")), Services: list}).Usage
	if got := fmt.Sprint(usage); got != "[{5 13} {0 2}]" {
		t.Errorf("used: %s", got)
	}
}
