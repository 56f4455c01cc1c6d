package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
)

// LocalKubeconfig makes the API server reachable outside the namespaces, at a free port of 127.0.0.1, until Close, and
// returns the path of an administrator's kubeconfig that uses it. Under sudo the file belongs to the user who called.
func (c *Cluster) LocalKubeconfig(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local == nil {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("making the API server reachable at 127.0.0.1: %w", err)
		}
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), apiPort).String()
		c.local = newForwarder(listener, func(ctx context.Context) (net.Conn, error) { return c.controlPlane.Dial(ctx, "tcp", to) })
	}
	path, err := c.writeKubeconfig("kubeconfig-local", "https://"+c.local.listener.Addr().String(), c.adminToken)
	if err != nil {
		return "", err
	}
	if uid, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil {
		if err := os.Chown(path, uid, -1); err != nil {
			return "", err
		}
	}
	return path, ctx.Err()
}

// A forwarder carries TCP connections from one network namespace to another.
type forwarder struct {
	listener net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// newForwarder carries what the listener accepts to what dial connects to, until close.
func newForwarder(listener net.Listener, dial func(context.Context) (net.Conn, error)) *forwarder {
	ctx, cancel := context.WithCancel(context.Background())
	f := &forwarder{listener: listener, cancel: cancel}
	f.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			f.running.Go(func() { carry(ctx, conn, dial) })
		}
	})
	return f
}

// close ends the forwarder and its connections.
func (f *forwarder) close() error {
	err := f.listener.Close()
	f.cancel()
	f.running.Wait()
	return err
}

// carry copies both ways until both ends are done, or ctx is.
func carry(ctx context.Context, near net.Conn, dial func(context.Context) (net.Conn, error)) {
	defer near.Close()
	far, err := dial(ctx)
	if err != nil {
		return // the caller sees its connection close
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() { near.Close(); far.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { half(far, near) })
	both.Go(func() { half(near, far) })
	both.Wait()
}

// half copies one direction and passes on its end.
func half(to, from net.Conn) {
	io.Copy(to, from) // an error shows as the end of the stream
	if tcp, ok := to.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
}
