// Package crd holds the CustomResourceDefinitions that Fairlead is installed with, so that manifests can be checked
// where there is no API server.
package crd

import "embed"

//go:embed *_*.yaml
var definitions embed.FS

// Definitions returns the definitions, one in each file.
func Definitions() embed.FS { return definitions }
