//go:build linux

package link

import (
	"errors"
	"fmt"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// rtnl is the kernel, by two rtnetlink sockets (rtnetlink(7)): one is told of changes, one asks.
type rtnl struct {
	events *netlink.Conn
	asks   *rtnetlink.Conn
}

// openKernel subscribes to changes of interfaces and addresses and returns the sockets.
func openKernel() (kernel, error) {
	events, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	})
	if err != nil {
		return nil, fmt.Errorf("subscribing to changes of interfaces: %w", err)
	}
	asks, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening rtnetlink: %w", err), events.Close())
	}
	return &rtnl{events, asks}, nil
}

// Wait implements kernel. What the messages say is not looked at. ENOBUFS means that some were lost (netlink(7)).
func (r *rtnl) Wait() error {
	_, err := r.events.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	return err
}

// Read implements kernel.
func (r *rtnl) Read() (t tables, err error) {
	if t.links, err = r.asks.Link.List(); err != nil {
		return t, fmt.Errorf("listing interfaces: %w", err)
	}
	if t.addresses, err = r.asks.Address.List(); err != nil {
		return t, fmt.Errorf("listing addresses: %w", err)
	}
	return t, nil
}

// Close implements kernel. It ends Wait.
func (r *rtnl) Close() error { return errors.Join(r.events.Close(), r.asks.Close()) }
