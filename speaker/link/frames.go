//go:build linux

package link

import (
	"fmt"

	"github.com/jsimonetti/rtnetlink/v2"

	"github.com/fairlead-lb/fairlead/speaker/plan"
)

// Frames returns how many frames the kernel received on a link.
func Frames(l plan.Link) (uint64, error) {
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		return 0, fmt.Errorf("opening rtnetlink: %w", err)
	}
	defer c.Close()
	m, err := c.Link.Get(uint32(l.Index))
	if err != nil {
		return 0, fmt.Errorf("reading interface %s: %w", l.Name, err)
	}
	if m.Attributes == nil || m.Attributes.Stats64 == nil {
		return 0, fmt.Errorf("reading interface %s: the kernel does not say how many frames were received", l.Name)
	}
	return m.Attributes.Stats64.RXPackets, nil
}
