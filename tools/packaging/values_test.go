package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestValues: what a value does to the manifests. A line of want is in the object, one of no is not.
func TestValues(t *testing.T) {
	const controller, speaker = "Deployment metallb-system/fairlead-controller", "DaemonSet metallb-system/fairlead-speaker"
	for name, c := range map[string]struct {
		values   string
		object   string // "" where none of that name is to be there
		without  string // an object that is not to be there
		want, no []string
	}{
		"image of all roles":    {values: "image: {repository: r.example/fl, tag: v1}", object: speaker, want: []string{"image: r.example/fl:v1"}},
		"image of one role":     {values: "controller: {image: {tag: v2, pullPolicy: Always}}", object: controller, want: []string{"image: ghcr.io/fairlead-lb/fairlead:v2", "imagePullPolicy: Always"}},
		"pull secrets":          {values: "imagePullSecrets: [{name: s}]", object: speaker, want: []string{"imagePullSecrets:\n      - name: s"}},
		"another name":          {values: "fullnameOverride: lb", object: "DaemonSet metallb-system/lb-speaker", without: speaker},
		"a class":               {values: "loadBalancerClass: c/d", object: controller, want: []string{"- --lb-class=c/d"}},
		"a class, speaker":      {values: "loadBalancerClass: c/d", object: speaker, want: []string{"- --lb-class=c/d"}},
		"no roles":              {values: "rbac: {create: false}", object: "ServiceAccount metallb-system/fairlead-speaker", without: "ClusterRole fairlead-speaker"},
		"own account":           {values: "speaker: {serviceAccount: {create: false, name: own}}", object: "RoleBinding metallb-system/fairlead-speaker", want: []string{"name: own"}, without: "ServiceAccount metallb-system/own"},
		"account's annotations": {values: "speaker: {serviceAccount: {annotations: {a: b}}}", object: "ServiceAccount metallb-system/fairlead-speaker", want: []string{"a: b"}},
		"no kinds":              {values: "crds: {enabled: false}", object: speaker, without: "CustomResourceDefinition bgppeers.metallb.io"},
		"configuration unchecked while no controller runs": {values: "crds: {validationFailurePolicy: Ignore}", object: "ValidatingWebhookConfiguration fairlead-webhook-configuration", no: []string{"failurePolicy: Fail"}},
		"no webhooks":                    {values: "controller: {webhookMode: disabled}", object: controller, want: []string{"- --webhooks=off"}, without: "ValidatingWebhookConfiguration fairlead-webhook-configuration"},
		"no webhooks, no conversion":     {values: "controller: {webhookMode: disabled}", object: "CustomResourceDefinition bgppeers.metallb.io", no: []string{"conversion:"}},
		"no controller":                  {values: "controller: {enabled: false}", object: speaker, without: controller},
		"no speaker":                     {values: "speaker: {enabled: false}", object: controller, without: speaker},
		"one replica, no budget":         {values: "controller: {replicas: 1, podDisruptionBudget: {enabled: false}}", object: controller, want: []string{"replicas: 1"}, without: "PodDisruptionBudget metallb-system/fairlead-controller"},
		"log levels of MetalLB":          {values: "controller: {logLevel: all}", object: controller, want: []string{"- --log-level=debug"}},
		"log as JSON":                    {values: "speaker: {logFormat: json, logLevel: none}", object: speaker, want: []string{"- --log-format=json", "- --log-level=error"}},
		"the API server's node ports":    {values: "controller: {serviceNodePortRange: 20000-22767}", object: controller, want: []string{"- --service-node-port-range=20000-22767"}},
		"protection and grace":           {values: "controller: {protectPools: refuse, orphanGrace: 1h}", object: controller, want: []string{"- --protect-pools=refuse", "- --orphan-grace=1h"}},
		"more arguments":                 {values: "controller: {extraArgs: [--status-writers=4]}", object: controller, want: []string{"- --status-writers=4"}},
		"not on the control plane":       {values: "speaker: {tolerateMaster: false}", object: speaker, no: []string{"tolerations:"}},
		"more tolerations":               {values: "speaker: {tolerations: [{operator: Exists}]}", object: speaker, want: []string{"- operator: Exists", "control-plane"}},
		"members' port":                  {values: "speaker: {memberlist: {mlBindPort: 7777}}", object: speaker, want: []string{"- --members-port=7777", "containerPort: 7777"}},
		"members' address":               {values: "speaker: {memberlist: {mlBindAddrOverride: 192.0.2.1, heartbeatPort: 7700}}", object: speaker, want: []string{"- --members-address=192.0.2.1", "- --heartbeat-port=7700", "containerPort: 7700"}},
		"no heartbeats":                  {values: "speaker: {memberlist: {heartbeatPort: 0}}", object: speaker, want: []string{"- --heartbeat-port=0"}, no: []string{"name: heartbeats"}},
		"nodes that are excluded":        {values: "speaker: {ignoreExcludeLB: true, failbackAfter: 5m}", object: speaker, want: []string{"- --ignore-exclude-lb", "- --failback-after=5m"}},
		"instead of kube-proxy":          {values: "ipvs: {enabled: true, allServices: true, apiServer: 'https://192.0.2.10:6443'}", object: "DaemonSet metallb-system/fairlead-ipvs", want: []string{"- --all-services", "- --api-server=https://192.0.2.10:6443"}},
		"all interfaces":                 {values: "speaker: {excludeInterfaces: {enabled: false}}", object: speaker, want: []string{"- --exclude-interfaces="}},
		"own list of interfaces":         {values: `speaker: {excludeInterfaces: {patterns: ["^a\\d", "^b"]}}`, object: speaker, want: []string{`- --exclude-interfaces=^a\d,^b`}},
		"a longer drain":                 {values: "speaker: {drainSeconds: 20, drainCordoned: true}", object: speaker, want: []string{"- --drain-time=20s", "- --drain-cordoned", "terminationGracePeriodSeconds: 25"}},
		"drain as it is":                 {values: "speaker: {enabled: true}", object: speaker, want: []string{"terminationGracePeriodSeconds: 10"}, no: []string{"--drain", "NET_ADMIN"}},
		"drop what nothing serves":       {values: "speaker: {dropUnserved: true}", object: speaker, want: []string{"- --drop-unserved", "NET_ADMIN"}},
		"metrics' port":                  {values: "prometheus: {metricsPort: 9120, scrapeAnnotations: true}", object: speaker, want: []string{"- --metrics-bind-address=:9120", `prometheus.io/port: "9120"`}},
		"probes as MetalLB writes them":  {values: "speaker: {livenessProbe: {enabled: true, failureThreshold: 9, initialDelaySeconds: 10, periodSeconds: 10, successThreshold: 1, timeoutSeconds: 1}}", object: speaker, want: []string{"failureThreshold: 9", "initialDelaySeconds: 10"}, no: []string{"enabled"}},
		"pod monitors":                   {values: "prometheus: {podMonitor: {enabled: true, interval: 15s, additionalLabels: {release: prom}}}", object: "PodMonitor metallb-system/fairlead-speaker", want: []string{"release: prom", "interval: 15s", "- interval: 15s\n    path: /metrics\n    port: metrics"}},
		"service monitors":               {values: "prometheus: {serviceMonitor: {enabled: true}}", object: "ServiceMonitor metallb-system/fairlead-controller", want: []string{"port: metrics"}},
		"service monitors' Services":     {values: "prometheus: {serviceMonitor: {enabled: true}}", object: "Service metallb-system/fairlead-speaker-metrics", want: []string{"clusterIP: None", "targetPort: metrics"}},
		"secured metrics":                {values: "prometheus: {secureMetrics: {enabled: true}, scrapeAnnotations: true}", object: speaker, want: []string{"- --secure-metrics", "prometheus.io/scheme: https"}},
		"secured metrics, by pods":       {values: "prometheus: {secureMetrics: {enabled: true, tokenSecret: {name: t, key: token}}, podMonitor: {enabled: true}}", object: "PodMonitor metallb-system/fairlead-speaker", want: []string{"scheme: https", "insecureSkipVerify: true", "credentials:\nkey: token\nname: t"}},
		"secured metrics, by Services":   {values: "prometheus: {secureMetrics: {enabled: true}, serviceMonitor: {enabled: true}}", object: "ServiceMonitor metallb-system/fairlead-speaker", want: []string{"bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token", "scheme: https"}},
		"who secures metrics":            {values: "{ipvs: {enabled: false}, speaker: {serviceAccount: {name: own}}, prometheus: {secureMetrics: {enabled: true}}}", object: "ClusterRoleBinding fairlead-metrics", want: []string{"name: own", "name: fairlead-controller"}, no: []string{"ipvs"}},
		"who reads secured metrics":      {values: "prometheus: {secureMetrics: {enabled: true}, serviceAccount: p, namespace: monitoring}", object: "ClusterRoleBinding fairlead-metrics-reader", want: []string{"name: p\nnamespace: monitoring"}},
		"metrics for everybody":          {values: "prometheus: {podMonitor: {enabled: true}}", object: "PodMonitor metallb-system/fairlead-speaker", no: []string{"https", "authorization"}, without: "ClusterRole fairlead-metrics"},
		"rights of Prometheus":           {values: "prometheus: {serviceAccount: p, namespace: monitoring}", object: "RoleBinding metallb-system/fairlead-prometheus", want: []string{"name: p\n  namespace: monitoring"}},
		"network policies":               {values: "networkpolicies: {enabled: true, apiPort: 443}", object: "NetworkPolicy metallb-system/fairlead-controller", want: []string{"port: 443", "port: webhooks"}, without: "NetworkPolicy metallb-system/fairlead-default-deny"},
		"all else is denied":             {values: "networkpolicies: {enabled: true, defaultDeny: true}", object: "NetworkPolicy metallb-system/fairlead-default-deny", want: []string{"podSelector: {}"}},
		"no IPVS unless it is asked for": {values: "ipvs: {services: all}", object: speaker, without: "DaemonSet metallb-system/fairlead-ipvs"},
		"IPVS":                           {values: "ipvs: {enabled: true, clusterCIDRs: [10.244.0.0/16, fd00::/48], scheduler: mh, logLevel: debug}", object: "DaemonSet metallb-system/fairlead-ipvs", want: []string{"- --cluster-cidr=10.244.0.0/16,fd00::/48", "- --scheduler=mh", "- --log-level=debug", "hostNetwork: true"}},
		"IPVS for all":                   {values: "ipvs: {enabled: true, services: all}", object: "ConfigMap metallb-system/fairlead-ipvs", want: []string{"dataplane: all"}},
		"IPVS goes last":                 {values: "ipvs: {enabled: true}", object: "Job metallb-system/fairlead-ipvs-release", want: []string{"helm.sh/hook: pre-delete", "- --release"}},
		"IPVS under another name":        {values: "{fullnameOverride: lb, ipvs: {enabled: true}}", object: "ValidatingAdmissionPolicy fairlead-ipvs", want: []string{"system:serviceaccount:metallb-system:lb-ipvs"}},
		"a pool":                         {values: "pools: {first: {addresses: [192.0.2.0/28]}}", object: "Secret metallb-system/fairlead-configure", want: []string{"apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata:\n  name: first\n  namespace: metallb-system\nspec:\n  addresses:\n  - 192.0.2.0/28"}},
		"an advertisement of all pools":  {values: "l2Advertisements: {all: {}}", object: "Secret metallb-system/fairlead-configure", want: []string{"kind: L2Advertisement\nmetadata:\n  name: all\n  namespace: metallb-system\nspec: {}"}},
		"the same, with nothing behind":  {values: "l2Advertisements: {all: }", object: "Secret metallb-system/fairlead-configure", want: []string{`spec: {}`}},
		"a peer":                         {values: "peers: {tor: {myASN: 64512, peerASN: 64513, peerAddress: 192.0.2.1}}", object: "Secret metallb-system/fairlead-configure", want: []string{"apiVersion: metallb.io/v1beta2\nkind: BGPPeer"}},
		"what configures":                {values: "{image: {tag: v7}, pools: {first: {addresses: [192.0.2.0/28]}}}", object: "Job metallb-system/fairlead-configure", want: []string{"image: ghcr.io/fairlead-lb/fairlead:v7", "- configure", "secretName: fairlead-configure", "helm.sh/hook: post-install,post-upgrade,post-rollback"}},
		"nothing to configure":           {values: "pools: {}", object: speaker, without: "Job metallb-system/fairlead-configure"},
		"configured without roles":       {values: "{rbac: {create: false}, communities: {c: {communities: []}}}", object: "ServiceAccount metallb-system/fairlead-configure", without: "Role metallb-system/fairlead-configure"},
		"helm test":                      {values: "loadBalancerClass: c/d", object: "Pod metallb-system/fairlead-test", want: []string{"- status", "value: c/d", "helm.sh/hook: test"}},
		"what may reach the API server":  {values: "networkpolicies: {enabled: true, defaultDeny: true, apiPort: 443}", object: "NetworkPolicy metallb-system/fairlead-once", want: []string{"port: 443", "app.kubernetes.io/component: once"}},
		"FRR of MetalLB that is off":     {values: "{frrk8s: {enabled: false, external: false}, speaker: {frr: {enabled: false, metricsPort: 9121}, reloader: {resources: {}}}, frr-k8s: {}}", object: speaker},
		"as a chart's dependency it has": {values: "global: {x: y}", object: speaker},
	} {
		t.Run(name, func(t *testing.T) {
			all := render(t, values(t, c.values))
			if all[c.without] != nil {
				t.Errorf("there is a %s", c.without)
			}
			o := all[c.object]
			if o == nil {
				t.Fatalf("there is no %s", c.object)
			}
			got := text(t, o)
			for _, w := range c.want {
				if !holds(got, w) {
					t.Errorf("no %q in\n%s", w, got)
				}
			}
			for _, n := range c.no {
				if strings.Contains(got, n) {
					t.Errorf("%q in\n%s", n, got)
				}
			}
		})
	}
}

// holds says whether the text has these lines, whatever their indentation.
func holds(text, lines string) bool {
	trim := func(s string) (out []string) {
		for l := range strings.Lines(s) {
			out = append(out, strings.Trim(l, " \n"))
		}
		return out
	}
	all, want := trim(text), trim(lines)
	for i := range all {
		if len(all)-i >= len(want) && slices.EqualFunc(all[i:i+len(want)], want, func(a, b string) bool { return a == b || len(want) == 1 && strings.Contains(a, b) }) {
			return true
		}
	}
	return false
}

// TestTheValuesOfTheInstallationRender: the file that make test-install installs with.
func TestTheValuesOfTheInstallationRender(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(root, "e2e", "install", "testdata", "every.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if all := render(t, values(t, string(file))); all["Job metallb-system/fairlead-configure"] == nil || all["ServiceMonitor metallb-system/fairlead-speaker"] == nil {
		t.Error("they ask for less than they did")
	}
}

// TestRefusedValues: a misspelt value is an error, and so is one that would mean something else than it says.
func TestRefusedValues(t *testing.T) {
	for name, c := range map[string]struct{ values, err string }{
		"misspelt":                 {"controler: {}", "controler"},
		"misspelt within":          {"speaker: {tolerateMasters: true}", "tolerateMasters"},
		"no such level":            {"speaker: {logLevel: loud}", "logLevel"},
		"a number as text":         {`controller: {replicas: "2"}`, "replicas"},
		"no such protection":       {"controller: {protectPools: no}", "protectPools"},
		"FRR":                      {"frrk8s: {enabled: true}", "Fairlead speaks BGP and BFD itself"},
		"FRR beside the speaker":   {"speaker: {frr: {enabled: true}}", "Fairlead speaks BGP and BFD itself"},
		"MetalLB's image":          {"speaker: {image: {repository: quay.io/metallb/speaker}}", "leave the image out"},
		"without members":          {"speaker: {memberlist: {enabled: false}}", "memberlist"},
		"a pool's name":            {"pools: {First_Pool: {}}", "First_Pool"},
		"a pool that is a list":    {"pools: [{name: first}]", "pools"},
		"a pool without fields":    {"pools: {first: [192.0.2.0/28]}", "first"},
		"no token to scrape by":    {"prometheus: {secureMetrics: {enabled: true}, podMonitor: {enabled: true}}", "prometheus.secureMetrics.tokenSecret"},
		"no way to the API server": {"ipvs: {enabled: true, allServices: true}", "ipvs.apiServer"},
		"scraped twice":            {"prometheus: {podMonitor: {enabled: true}, serviceMonitor: {enabled: true}}", "choose one"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := RenderChart(root, "dev", values(t, c.values))
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got the error %v, want one with %q", err, c.err)
			}
		})
	}
}

// TestEveryFlagHasItsPlace asks the binary itself: every argument that the chart can give is a flag, and every flag is set by a
// value, by what the pod says of itself, or only by extraArgs, which is decided here.
func TestEveryFlagHasItsPlace(t *testing.T) {
	help := helper(t)
	all := render(t, values(t, `
loadBalancerClass: c/d
prometheus: {metricsPort: 9120, secureMetrics: {enabled: true}}
controller: {logLevel: debug, logFormat: json, protectPools: refuse, orphanGrace: 1h, serviceNodePortRange: 20000-22767, statusPage: {enabled: true, tlsSecret: s}, extraArgs: [--status-writers=4]}
speaker:
  {logLevel: debug, logFormat: json, memberlist: {mlBindPort: 7777, mlBindAddrOverride: 192.0.2.1, heartbeatPort: 7778}, excludeInterfaces: {patterns: [^a]},
  drainSeconds: 9, drainCordoned: true, dropUnserved: true, ignoreExcludeLB: true, failbackAfter: 2m, extraArgs: [--gratuitous-rate=9]}
ipvs: {enabled: true, clusterCIDRs: [10.0.0.0/8], scheduler: mh, allServices: true, apiServer: "https://192.0.2.10:6443", logLevel: debug, logFormat: json, extraArgs: [--answer-ping=false]}`))
	for role, c := range map[string]struct {
		object, pod string
		extra       string // flags that extraArgs alone sets
	}{
		"controller": {"Deployment metallb-system/fairlead-controller", "namespace pod-name pod-uid kubeconfig",
			"health-probe-bind-address kube-api-burst kube-api-qps leader-elect status-writers webhook-bind-address"},
		"speaker": {"DaemonSet metallb-system/fairlead-speaker", "namespace pod-name pod-uid kubeconfig node-name",
			"bgp-status-limit gratuitous-rate gratuitous-refresh kube-api-burst kube-api-qps router-id"},
		"ipvs": {"DaemonSet metallb-system/fairlead-ipvs", "namespace pod-name pod-uid kubeconfig node-name",
			"answer-ping cleanup drain-time kube-api-burst kube-api-qps metrics-bind-address release state-dir"},
	} {
		var pods struct {
			Spec struct {
				Template struct {
					Spec struct{ Containers []struct{ Args []string } }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(text(t, all[c.object])), &pods); err != nil {
			t.Fatal(err)
		}
		args := pods.Spec.Template.Spec.Containers[0].Args
		if out, err := exec.Command(product(t), append(args, "--help")...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		place := map[string]bool{"help": true}
		for _, name := range strings.Fields(c.pod + " " + c.extra) {
			place[name] = true
			if !hasFlag(help(role), "--"+name) {
				t.Errorf("fairlead %s has no flag --%s, which this test names", role, name)
			}
		}
		for _, a := range args[1:] {
			name, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
			place[name] = true
		}
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(help(role), -1) {
			if !place[m[1]] {
				t.Errorf("fairlead %s --%s: no value of the chart sets it; add one, or name it here as one of extraArgs", role, m[1])
			}
		}
	}
}
