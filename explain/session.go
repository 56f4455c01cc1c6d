package explain

import (
	"fmt"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

const stateEstablished = "established"

// session words the state of a BGP session.
func (v *View) session(x v1alpha1.BGPSession) string {
	text := fmt.Sprintf("%s with %s for %s", x.State, or(x.Address, "its neighbor"), Age(v.Now, x.Since.Time))
	if x.State == stateEstablished {
		text += ", " + counted(int(x.PrefixesSent), "route") + " sent"
	}
	if x.BFD != "" {
		text += ", BFD " + x.BFD
	}
	for _, why := range []string{x.Reason, x.LastError} {
		if why != "" && x.State != stateEstablished {
			return text + ": " + why
		}
	}
	return text
}
