package mode

import "time"

const (
	// Lingering is how long kube-proxy has from when it hears that it is to serve an address, or was seen to have taken it up,
	// until it does; and then, how long what began by IPVS has to end.
	Lingering = 5 * time.Second
	// Patience is how long kube-proxy is waited for where it can be seen whether it has taken an address up.
	Patience = time.Minute
)

// Leave is where a Service stands on its way from IPVS to kube-proxy. The zero value asks for IPVS. It is comparable.
type Leave struct {
	Since time.Time // when it was first seen to ask no more
	Taken time.Time // when kube-proxy was first seen to have taken up its addresses; zero: it has not
}

// Next returns where a Service stands that asks no more, given whether kube-proxy has taken up its addresses.
func (l Leave) Next(now time.Time, taken bool) Leave {
	if l.Since.IsZero() {
		l.Since = now
	}
	switch {
	case !taken:
		l.Taken = time.Time{}
	case l.Taken.IsZero():
		l.Taken = now
	}
	return l
}

// Yields is from when on what begins is left to kube-proxy.
func (l Leave) Yields() time.Time {
	if l.Taken.IsZero() {
		return l.Since.Add(Patience)
	}
	return l.Taken.Add(Lingering)
}

// Ends is when the Service is let go.
func (l Leave) Ends() time.Time { return l.Yields().Add(Lingering) }
