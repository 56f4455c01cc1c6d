package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// PageImage is the image of a pod that answers HTTP as those of AddPod do.
const PageImage = "localhost/page:1"

// Artifact is the path of what BuildArtifacts has made: the archives of images pause.tar and page.tar, and what a release
// consists of, made by tools/packaging with the version e2e.
func Artifact(name string) (string, error) {
	root, err := kubebin.ModuleRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "e2e", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("not built yet (make e2e-artifacts): %w", err)
	}
	return path, nil
}

// BuildArtifacts makes what a cluster with kubelets runs, in bin/e2e. It is for the user who builds, not for root.
func BuildArtifacts(ctx context.Context) error {
	root, err := kubebin.ModuleRoot()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "bin", "e2e")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for image, name := range map[string]string{pauseImage: "pause", PageImage: "page"} {
		if err := buildImage(ctx, root, dir, image, name); err != nil {
			return err
		}
	}
	release := exec.CommandContext(ctx, "go", "run", "-C", filepath.Join(root, "tools", "packaging"), ".",
		"-version", "e2e", "-arch", runtime.GOARCH, "-out", dir, "image", "chart", "manifests")
	if out, err := release.CombinedOutput(); err != nil {
		return fmt.Errorf("packaging: %w\n%s", err, out)
	}
	return nil
}

// buildImage compiles e2e/images/NAME and packs it.
func buildImage(ctx context.Context, root, dir, image, name string) error {
	binary := filepath.Join(dir, name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./e2e/images/"+name)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the image %s: %w\n%s", image, err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	archive, err := dockerArchive(image, "/"+name, content)
	if err != nil {
		return fmt.Errorf("packing the image %s: %w", image, err)
	}
	return os.WriteFile(binary+".tar", archive, 0o644)
}

// dockerArchive is what `docker save` writes for an image of one static binary, its entry point.
func dockerArchive(image, path string, binary []byte) ([]byte, error) {
	layer, err := packed(entry{path[1:], 0o755, binary})
	if err != nil {
		return nil, err
	}
	diff := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{path}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(diff[:])}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{image}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return packed(entry{"layer.tar", 0o644, layer}, entry{"config.json", 0o644, config}, entry{"manifest.json", 0o644, manifest})
}

type entry struct {
	name    string
	mode    int64
	content []byte
}

func packed(entries ...entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
