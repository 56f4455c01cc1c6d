package main

import (
	"bytes"
	"fmt"
	"path/filepath"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// repository is where releases are found; config/ names it with the tag dev.
const repository = "ghcr.io/fairlead-lb/fairlead"

// Manifests renders config/default of the repository, with that image.
func Manifests(root, image string) ([]byte, error) { return kustomized(root, image, "default") }

// kustomized renders one folder of config.
func kustomized(root, image, folder string) ([]byte, error) {
	dir := filepath.Join(root, "config", folder)
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("rendering %s: %w", dir, err)
	}
	out, err := m.AsYaml()
	return bytes.ReplaceAll(out, []byte(repository+":dev"), []byte(image)), err
}
