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
		f, err := newForwarder(c.controlPlane, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), apiPort))
		if err != nil {
			return "", err
		}
		c.local = f
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

// A forwarder carries TCP connections from a port of 127.0.0.1 in this process's own namespace to an address inside a
// host's.
type forwarder struct {
	listener net.Listener
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func newForwarder(host *Host, to netip.AddrPort) (*forwarder, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("forwarding to %s: %w", to, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &forwarder{listener: listener, cancel: cancel}
	f.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			f.running.Go(func() { carry(ctx, conn, host, to) })
		}
	})
	return f, nil
}

// close ends the forwarder and its connections.
func (f *forwarder) close() error {
	err := f.listener.Close()
	f.cancel()
	f.running.Wait()
	return err
}

// carry copies both ways until both ends are done, or ctx is.
func carry(ctx context.Context, near net.Conn, host *Host, to netip.AddrPort) {
	defer near.Close()
	far, err := host.Dial(ctx, "tcp", to.String())
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
