package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// release is a version as git tags it, or as git describe derives it from a tag.
var release = regexp.MustCompile(`^v(\d+\.\d+\.\d+.*)$`)

// loadChart loads the chart of the repository, with the version stamped into it.
func loadChart(root, version string) (*chart.Chart, error) {
	c, err := loader.LoadDir(filepath.Join(root, "charts", "fairlead"))
	if err != nil {
		return nil, fmt.Errorf("loading the chart: %w", err)
	}
	c.Metadata.AppVersion, c.Metadata.Version = version, "0.0.0-g"+version
	if m := release.FindStringSubmatch(version); m != nil {
		c.Metadata.Version = m[1]
	}
	return c, c.Validate()
}

// PackageChart writes the chart as an archive, for helm install and helm push, and returns its name.
func PackageChart(root, version, out string) (string, error) {
	c, err := loadChart(root, version)
	if err != nil {
		return "", err
	}
	return chartutil.Save(c, out)
}

// RenderChart returns the chart's manifests by template, as helm install --namespace metallb-system makes them.
func RenderChart(root, version string, values map[string]any) (map[string]string, error) {
	c, err := loadChart(root, version)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: "v1.36.0", Major: "1", Minor: "36"}
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "fairlead", Namespace: "metallb-system", IsInstall: true}, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// joined is the manifests as helm template prints them, without the notes.
func joined(manifests map[string]string) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(manifests)) {
		if filepath.Ext(name) == ".yaml" {
			out.WriteString("\n---\n" + manifests[name])
		}
	}
	return out.String()
}
