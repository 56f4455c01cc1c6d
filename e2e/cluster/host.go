package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A Host is a network namespace with one interface, eth0: the control plane, a node, the client outside, a pod.
type Host struct {
	Name      string           // such as node-1
	Namespace string           // such as fl-a1b2.node-1, as ip netns knows it
	IPv4      netip.Addr       // of eth0
	IPv6      netip.Addr       // of eth0, not the link-local one
	MAC       net.HardwareAddr // of eth0
}

// Command is exec.CommandContext for a program inside the namespace. Only the network is the namespace's: files,
// process numbers, /sys and the working directory are the machine's.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + netnsPath(h.Namespace), "--"}, argv...)...)
	cmd.Env = commandEnv()
	cmd.WaitDelay = time.Second // a grandchild may hold the output open
	return cmd
}

// commandEnv is this process's environment with the administrators' folders in PATH.
func commandEnv() []string {
	return append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
}

// Run runs a program inside the namespace and returns what it printed; a failure's error holds what it said.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	return output(ctx, h.Command(ctx, argv...), h.Name+": "+strings.Join(argv, " "))
}

// output runs cmd and returns its standard output.
func output(ctx context.Context, cmd *exec.Cmd, what string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return stdout.String(), fmt.Errorf("%s: %w: %s", what, err, strings.TrimSpace(stderr.String()+stdout.String()))
	}
	return stdout.String(), nil
}

// Do runs fn on an operating-system thread inside the namespace: sockets that fn itself makes live there, for good.
// Goroutines that fn starts run outside; calls of Do may be nested.
func (h *Host) Do(fn func() error) error { return inNamespace(h.Namespace, fn) }

// Dial connects from inside the namespace to a literal address, such as 172.25.254.50:8080; names are not resolved there.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the namespace; accepting works from anywhere.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// HTTPGet asks from inside the namespace, on a connection of its own, and returns the body of a 200 answer. The host in
// the URL is a literal address.
func (h *Host) HTTPGet(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("%s asking %s: %w", h.Name, url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("%s asking %s: %w", h.Name, url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s asking %s: %s: %s", h.Name, url, resp.Status, bytes.TrimSpace(body))
	}
	return string(body), nil
}

// URL is an http URL of an address and port.
func URL(addr netip.Addr, port uint16) string {
	return "http://" + netip.AddrPortFrom(addr, port).String() + "/"
}
