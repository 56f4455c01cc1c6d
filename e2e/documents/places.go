package documents

import "slices"

// A Place is where a command of the documents is run by a test.
type Place string

// The places. A command that nobody has said anything about is for Stories.
const (
	Stories      Place = "a story with an API server: e2e/stories"
	Installation Place = "the cluster with kubelets: e2e/install"
	Migration    Place = "the guide's own test: e2e/migration"
	Make         Place = "CI and e2e/cmd/lab"
	Nowhere      Place = "no test"
)

// Place is where the command is run.
func (c Command) Place() Place {
	switch {
	case c.Mark != "":
		return Migration
	case c.Program() == "make":
		return Make
	case slices.Contains(inInstallation(), c.Text):
		return Installation
	case notRun()[c.Text] != "":
		return Nowhere
	default:
		return Stories
	}
}

// inInstallation lists what needs pods from images.
func inInstallation() []string {
	return []string{
		"kubectl create namespace metallb-system",
		"kubectl label namespace metallb-system pod-security.kubernetes.io/enforce=privileged",
		"helm install fairlead charts/fairlead --namespace metallb-system --create-namespace --set image.repository=REGISTRY/fairlead,image.tag=TAG",
		"helm test fairlead --namespace metallb-system",
		"helm upgrade fairlead charts/fairlead --namespace metallb-system --reuse-values --set ipvs.enabled=true",
		"helm uninstall fairlead --namespace metallb-system",
		"kubectl apply --server-side -f dist/fairlead.yaml",
		"kubectl apply --server-side --force-conflicts -k config/default",
		"kubectl apply -k config/ipvs",
		"kubectl delete -k config/ipvs",
		"kubectl -n metallb-system logs deployment/fairlead-controller",
		"kubectl -n metallb-system port-forward deploy/fairlead-controller 7952",
		"kubectl -n metallb-system rollout status deployment/fairlead-controller daemonset/fairlead-speaker",
	}
}

// notRun is what no test runs, and why.
func notRun() map[string]string {
	const (
		named   = "it only names the command"
		metallb = "MetalLB's chart, manifests and images are not to be had where the tests run; its test makes the same objects"
		kernel  = "the kernel of these nodes may have no IPVS: it is looked at in a virtual machine, by ./ipvs and ./ipvs/kernel"
	)
	return map[string]string{
		"kubectl apply": named, "kubectl delete": named, "kubectl apply --dry-run=server": named, "kubectl fairlead": named,
		"helm upgrade": named, "helm rollback": named, "helm uninstall": named, "helm uninstall metallb": "it says what not to do",
		"fairlead controller": named, "fairlead speaker": named, "fairlead ipvs": named, "fairlead configure": named,
		"fairlead explain": named, "fairlead explain svc": named, "fairlead lint": named, "fairlead diff": named,

		"helm -n metallb-system get values metallb -o yaml > metallb-values.yaml":                          metallb,
		"helm repo add metallb https://metallb.github.io/metallb":                                          metallb,
		"helm -n metallb-system install metallb metallb/metallb -f metallb-values.yaml --take-ownership":   metallb,
		"kubectl -n metallb-system rollout status deployment/metallb-controller daemonset/metallb-speaker": metallb,
		"kubectl apply -f metallb-native.yaml":                                                             metallb,
		"export CHART=oci://ghcr.io/fairlead-lb/charts/fairlead":                                           "the tests install the chart of the repository",

		"ipvsadm -Ln": kernel, "ipvsadm -Ln --stats": kernel, "ip addr show dummy-fairlead": kernel, "nft list table ip fairlead": kernel,
		"fairlead ipvs --cleanup": kernel,
	}
}
