package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metallbv1beta1 "github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	metallbv1beta2 "github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// fieldManager signs what the package applies.
const fieldManager = "fairlead-e2e"

// tokenLifetime of a ServiceAccount's token, in seconds.
const tokenLifetime int64 = 24 * 3600

// NewScheme knows Kubernetes' own kinds and Fairlead's.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, metallbv1beta1.AddToScheme, metallbv1beta2.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// RESTConfig is the administrator's access for clients in this process; they connect from the control plane's namespace
// and have no rate limit.
func (c *Cluster) RESTConfig() *rest.Config {
	return &rest.Config{
		Host:            c.apiURL(),
		BearerToken:     c.adminToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca},
		Dial:            c.controlPlane.Dial,
		QPS:             -1,
		WarningHandler:  rest.NoWarnings{},
	}
}

// Client is the administrator's client, which reads from the API server and not from a cache.
func (c *Cluster) Client() client.WithWatch { return c.client }

// Kubectl runs kubectl as the administrator in the control plane's namespace, with stdin if it is not empty, and returns
// what it printed.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	argv := append([]string{c.bin(kubebin.Kubectl), "--kubeconfig", c.Kubeconfig()}, args...)
	cmd := c.controlPlane.Command(ctx, argv...)
	cmd.Env = append(cmd.Env, "KUBECACHEDIR="+filepath.Join(c.dir, "kubectl")) // nothing in anybody's home
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	return output(ctx, cmd, "kubectl "+strings.Join(args, " "))
}

// Helm runs helm as the administrator, in Fairlead's namespace, and returns what it printed.
func (c *Cluster) Helm(ctx context.Context, args ...string) (string, error) {
	home := filepath.Join(c.dir, "helm") // nothing in anybody's own
	argv := append([]string{c.bin(kubebin.Helm), "--kubeconfig", c.Kubeconfig(), "--namespace", FairleadNamespace}, args...)
	cmd := c.controlPlane.Command(ctx, argv...)
	cmd.Env = append(cmd.Env, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	return output(ctx, cmd, "helm "+strings.Join(args, " "))
}

// KubectlPath is the path of kubectl.
func (c *Cluster) KubectlPath() string { return c.bin(kubebin.Kubectl) }

// Fairlead is the path of the product's binary.
func (c *Cluster) Fairlead() (string, error) { return c.options.fairlead() }

// Kubeconfig is the path of the administrator's kubeconfig for programs inside the namespaces.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// writeKubeconfig writes a kubeconfig into the cluster's folder and returns its path.
func (c *Cluster) writeKubeconfig(name, server, token string) (string, error) {
	path := filepath.Join(c.dir, name)
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{c.name: {Server: server, CertificateAuthorityData: c.ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{c.name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{c.name: {Cluster: c.name, AuthInfo: c.name}},
		CurrentContext: c.name,
	}
	// In one step: a program that was started with it before may be reading it.
	whole := path + "." + randomHex(4)
	if err := errors.Join(clientcmd.WriteToFile(config, whole), os.Rename(whole, path)); err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	return path, nil
}

// ServiceAccountKubeconfig writes a kubeconfig for programs inside the namespaces that act as a ServiceAccount, with its
// permissions and no more, and returns its path. The token comes from the TokenRequest API and lasts a day.
// With a node it is bound to that, as a pod's is.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name, node string) (string, error) {
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name = namespace, name
	seconds := tokenLifetime
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if node != "" {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node}
	}
	if err := c.client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", fmt.Errorf("requesting a token of the ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return c.writeKubeconfig(fmt.Sprintf("kubeconfig-%s-%s%s", namespace, name, node), c.apiURL(), request.Status.Token)
}

// Apply applies manifests as kubectl apply --server-side --force-conflicts does: namespaces and definitions of kinds
// first, the rest in the order given. An object without a namespace goes to default.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	objects, err := decode(manifests)
	if err != nil {
		return fmt.Errorf("reading manifests: %w", err)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return precedence(a) - precedence(b) })
	for _, object := range objects {
		if err := c.applyObject(ctx, object); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), client.ObjectKeyFromObject(object), err)
		}
	}
	return nil
}

func (c *Cluster) applyObject(ctx context.Context, object *unstructured.Unstructured) error {
	namespaced, err := c.client.IsObjectNamespaced(object)
	if err != nil {
		return err
	}
	if namespaced && object.GetNamespace() == "" {
		object.SetNamespace("default")
	}
	configuration := client.ApplyConfigurationFromUnstructured(object)
	return c.client.Apply(ctx, configuration, client.FieldOwner(fieldManager), client.ForceOwnership)
}

func precedence(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "Namespace":
		return 0
	case "CustomResourceDefinition":
		return 1
	default:
		return 2
	}
}

// decode reads YAML or JSON documents; lists are unfolded and empty documents left out.
func decode(manifests string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := documents.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case len(object.Object) == 0:
		case object.IsList():
			err = object.EachListItem(func(item runtime.Object) error {
				objects = append(objects, item.(*unstructured.Unstructured)) // what EachListItem of an Unstructured gives
				return nil
			})
			if err != nil {
				return nil, err
			}
		default:
			objects = append(objects, object)
		}
	}
}

// ApplyFolder applies a folder of manifests: what kubectl kustomize makes of it if it has a kustomization.yaml, else all
// its .yaml files in the order of their names.
func (c *Cluster) ApplyFolder(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "kustomization.yaml")); err == nil {
		manifests, err := c.Kubectl(ctx, "", "kustomize", dir)
		if err != nil {
			return err
		}
		return c.Apply(ctx, manifests)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no manifests in %s", dir)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all.WriteString("---\n" + string(text) + "\n")
	}
	return c.Apply(ctx, all.String())
}
