package policy

// ASNKind says which AS numbers a BGP neighbor may show whose number is not given.
type ASNKind string

const (
	// ASNGiven: the number is given.
	ASNGiven ASNKind = ""
	// ASNInternal: that of this end.
	ASNInternal ASNKind = "internal"
	// ASNExternal: any but that of this end.
	ASNExternal ASNKind = "external"
)
