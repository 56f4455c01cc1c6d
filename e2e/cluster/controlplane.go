package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// apiTimeout bounds the start of kube-apiserver, ten times what it takes on two cores.
const apiTimeout = 90 * time.Second

// prepareControlPlane writes the keys and certificates, and the administrator's kubeconfig.
func (c *Cluster) prepareControlPlane() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	c.ca = ca.pem
	c.adminToken = randomHex(16)
	names := []string{"kube-apiserver", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}
	addrs := []net.IP{
		segmentV4(controlPlaneOctet).AsSlice(), segmentV6(controlPlaneOctet).AsSlice(),
		net.IPv4(127, 0, 0, 1), net.IPv6loopback,
		net.IPv4(10, 96, 0, 1), net.ParseIP("fd00:10:96::1"), // the service kubernetes.default
	}
	cert, key, err := ca.serving(names, addrs)
	if err != nil {
		return err
	}
	signing, err := signingKey()
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"pki/ca.crt":        ca.pem,
		"pki/apiserver.crt": cert,
		"pki/apiserver.key": key,
		"pki/sa.key":        signing,
		"audit.yaml":        []byte(auditPolicy),
		"pki/tokens.csv":    fmt.Appendf(nil, "%s,admin,admin,system:masters\n", c.adminToken),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	_, err = c.writeKubeconfig("kubeconfig", c.apiURL(), c.adminToken)
	return err
}

// auditPolicy logs who asked for what, and not what is in it: Secrets are among it.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, userGroups: ["system:serviceaccounts:` + FairleadNamespace + `", "system:serviceaccounts:default"]}
  - {level: None}
`

// AuditLog is the path of the log that Options.Audit asks for: one audit.k8s.io/v1 Event in a line.
func (c *Cluster) AuditLog() string { return filepath.Join(c.dir, "logs", "audit.log") }

// apiURL is where hosts of the segment reach the API server.
func (c *Cluster) apiURL() string {
	return "https://" + netip.AddrPortFrom(segmentV4(controlPlaneOctet), apiPort).String()
}

func (c *Cluster) startEtcd(ctx context.Context) error {
	_, err := c.start(ctx, rankStore, c.controlPlane, "etcd", []string{
		c.bin(kubebin.Etcd), "--data-dir", filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
	}, nil)
	return err
}

// StartAPIServer starts kube-apiserver and waits until it is ready. Without kubelets the plug-in ServiceAccount is off
// because no controller here makes a namespace's default account in time; TaintNodesByCondition because none would take
// its taint away.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	pki := func(name string) string { return filepath.Join(c.dir, "pki", name) }
	argv := []string{
		c.bin(kubebin.APIServer),
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=::",
		"--advertise-address=" + segmentV4(controlPlaneOctet).String(),
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--token-auth-file=" + pki("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki("sa.key"), "--service-account-signing-key-file=" + pki("sa.key"),
		"--enable-aggregator-routing=true", // webhooks are reached at their endpoints: no kube-proxy runs here
		"--max-requests-inflight=3000", "--max-mutating-requests-inflight=1500",
		"--profiling=false",
	}
	if c.options.Kubelets {
		argv = append(argv, "--kubelet-preferred-address-types=InternalIP") // nobody resolves the nodes' names; kubectl logs needs it
	} else {
		argv = append(argv, "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
	}
	if c.options.Audit {
		argv = append(argv, "--audit-policy-file="+filepath.Join(c.dir, "audit.yaml"), "--audit-log-path="+c.AuditLog())
	}
	p, err := c.start(ctx, rankAPI, c.controlPlane, kubebin.APIServer, append(argv, c.options.APIServerArgs...), nil)
	if err != nil {
		return err
	}
	httpClient, err := rest.HTTPClientFor(c.RESTConfig())
	if err != nil {
		return err
	}
	defer httpClient.CloseIdleConnections()
	return waitAlive(ctx, p, apiTimeout, func(ctx context.Context) error { return askOK(ctx, httpClient, c.apiURL()+"/readyz") })
}

// joinControlPlane makes a control plane that runs elsewhere this cluster's: what is sent to the address of its own API
// server is carried there.
func (c *Cluster) joinControlPlane(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.options.Kubeconfig)
	if err != nil {
		return fmt.Errorf("joining a control plane: %w", err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return fmt.Errorf("joining a control plane: %w", err)
	}
	c.ca, c.adminToken = config.CAData, config.BearerToken
	if _, err := c.writeKubeconfig("kubeconfig", c.apiURL(), c.adminToken); err != nil {
		return err
	}
	listener, err := c.controlPlane.Listen(ctx, "tcp", netip.AddrPortFrom(segmentV4(controlPlaneOctet), apiPort).String())
	if err != nil {
		return fmt.Errorf("joining a control plane: %w", err)
	}
	c.remote = newForwarder(listener, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Host)
	})
	httpClient, err := rest.HTTPClientFor(c.RESTConfig())
	if err != nil {
		return err
	}
	defer httpClient.CloseIdleConnections()
	return askOK(ctx, httpClient, c.apiURL()+"/readyz")
}

// StopAPIServer kills kube-apiserver; StartAPIServer starts it again.
func (c *Cluster) StopAPIServer() error { return c.killAll(kubebin.APIServer) }

// killAll kills the processes of a name.
func (c *Cluster) killAll(name string) error {
	c.mu.Lock()
	processes := slices.Clone(c.processes)
	c.mu.Unlock()
	for _, p := range processes {
		if p.Name == name {
			if err := p.Kill(); err != nil {
				return err
			}
		}
	}
	return nil
}

// RestartAPIServer kills kube-apiserver, starts it again and waits until it is ready.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.StopAPIServer(); err != nil {
		return err
	}
	return c.StartAPIServer(ctx)
}

// startControllerManager starts the few controllers that make a cluster's objects follow each other. Without kubelets,
// node lifecycle is left out: nothing renews the nodes' leases, their conditions are the package's to set.
func (c *Cluster) startControllerManager(ctx context.Context) error {
	kubeconfig := filepath.Join(c.dir, "kubeconfig")
	controllers := []string{"endpointslice-controller", "namespace-controller", "garbage-collector-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller"}
	if c.options.Kubelets {
		controllers = []string{"*"}
	}
	_, err := c.start(ctx, rankKube, c.controlPlane, kubebin.ControllerManager, []string{
		c.bin(kubebin.ControllerManager),
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1",
		"--cert-dir=" + filepath.Join(c.dir, "pki", "controller-manager"),
		"--root-ca-file=" + filepath.Join(c.dir, "pki", "ca.crt"),
		"--service-account-private-key-file=" + filepath.Join(c.dir, "pki", "sa.key"),
		"--node-monitor-grace-period=20s", // half of the default: a dead node is not ready sooner
		"--controllers=" + strings.Join(controllers, ","),
		"--kube-api-qps=500", "--kube-api-burst=1000",
	}, nil)
	return err
}

// waitAlive waits for a condition of a process, and gives up at once when the process ends.
func waitAlive(ctx context.Context, p *Process, timeout time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.Done():
			cancel(errors.New("it ended"))
		case <-ctx.Done():
		}
	}()
	err := Eventually(ctx, timeout, func() error { return ready(ctx) })
	if err != nil {
		return fmt.Errorf("waiting for %s: %w; its last lines:\n%s", p.Name, errors.Join(context.Cause(ctx), err), p.Tail(8))
	}
	return nil
}

// askOK is nil when the answer's status is 200.
func askOK(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
