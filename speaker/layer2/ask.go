//go:build linux

package layer2

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Ask asks on a link by ARP or neighbor discovery whether an address is there: as often as times says, at an interval,
// until there is an answer. The question comes from nobody (RFC 5227 section 2.1.1, RFC 4862 section 5.4.2), so no
// neighbor entry changes anywhere. An error means that it could not be asked.
func Ask(ctx context.Context, l plan.Link, address netip.Addr, times int, every time.Duration) (bool, error) {
	f := familyOf(address)
	var c conn
	err := f.attach([]netip.Addr{address}, nil, func(filter []bpf.RawInstruction) (err error) {
		c, err = listen(l, f, filter)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("asking for %s on %s: %w", address, l.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(times)*every)
	defer cancel()
	answers, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		awaitClaim(c, f, l, address, answers)
	}()
	defer func() {
		_ = c.Close()
		<-ended
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if times > 0 {
			times--
			if _, err := c.WriteBatch([][]byte{f.probe(address, l.MAC)}); err != nil {
				return false, fmt.Errorf("asking for %s on %s: %w", address, l.Name, err)
			}
		}
		select {
		case <-answers:
			return true, nil
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return false, nil
			}
			return false, ctx.Err()
		}
	}
}

// awaitClaim reads until another host says that it has the address, or the socket is closed.
func awaitClaim(c conn, f family, l plan.Link, address netip.Addr, answers chan<- struct{}) {
	ours := targets{address: nil}
	batch := newBatch(1)
	for {
		n, err := c.ReadBatch(batch)
		if err != nil {
			return
		}
		for i := range batch[:n] {
			if d := f.answer(batch[i].frame(), l.MAC, ours); d.claim.address == address {
				answers <- struct{}{}
				return
			}
		}
	}
}
