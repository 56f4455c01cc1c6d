package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// source is the repository, as people and scanners find it.
const source = "https://github.com/fairlead-lb/fairlead"

// Source is what an image is built from. The same source makes the same bytes.
type Source struct {
	Root     string // of the repository
	Version  string
	Revision string    // of git
	Time     time.Time // of that revision; the image is as old as its source
}

// SourceAt asks git about the repository.
func SourceAt(root, version string) (Source, error) {
	out, err := exec.Command("git", "-C", root, "log", "-1", "--format=%H %ct").Output()
	if err != nil {
		return Source{}, fmt.Errorf("asking git for the revision: %w", err)
	}
	revision, unix, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	seconds, err := strconv.ParseInt(unix, 10, 64)
	return Source{Root: root, Version: version, Revision: revision, Time: time.Unix(seconds, 0).UTC()}, err
}

// labels are those of the OCI image specification; scanners and registries show them.
func (s Source) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "fairlead",
		"org.opencontainers.image.description": "Addresses for Services of type LoadBalancer on bare-metal Kubernetes",
		"org.opencontainers.image.version":     s.Version,
		"org.opencontainers.image.revision":    s.Revision,
		"org.opencontainers.image.created":     s.Time.Format(time.RFC3339),
		"org.opencontainers.image.source":      source,
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

// BuildImage builds the image for each architecture and returns the index of them.
func BuildImage(s Source, architectures []string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range architectures {
		image, err := s.image(arch)
		if err != nil {
			return nil, fmt.Errorf("building the image for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return mutate.Annotations(index, s.labels()).(v1.ImageIndex), nil
}

// image builds the image for one architecture. It holds the binary, the list of what is in it, the license, and nothing
// else: no shell, no package.
func (s Source) image(arch string) (v1.Image, error) {
	binary, err := s.binary(arch)
	if err != nil {
		return nil, err
	}
	bill, err := s.SBOM(binary, arch)
	if err != nil {
		return nil, err
	}
	license, err := os.ReadFile(filepath.Join(s.Root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	layer, err := s.layer([]file{
		{"usr/share/doc/fairlead/LICENSE", 0o644, license},
		{"usr/share/doc/fairlead/sbom.spdx.json", 0o644, bill},
		{"fairlead", 0o755, binary},
	})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: v1.Time{Time: s.Time},
		Config: v1.Config{User: "65534:65534", Entrypoint: []string{"/fairlead"}, WorkingDir: "/", Labels: s.labels()},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: s.Time}, CreatedBy: "make image"},
	})
}

// binary compiles the static binary, with the flags of `make build`.
func (s Source) binary(arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "fairlead-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "fairlead")
	build := exec.Command("go", "build", "-tags", "grpcnotrace", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+s.Version, "-o", name, "./cmd/fairlead")
	build.Dir = s.Root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(name)
}

// file is one file of a layer.
type file struct {
	name    string
	mode    int64
	content []byte
}

// layer packs files, in their order. Folders are made by whoever unpacks it.
func (s Source) layer(files []file) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: s.Time, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// WriteArchive writes the image as an OCI archive: what `ctr images import`, `skopeo copy oci-archive:` and `podman load`
// read.
func WriteArchive(index v1.ImageIndex, s Source, name string) error {
	dir, err := os.MkdirTemp("", "fairlead-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          repository + ":" + s.Version,
		"org.opencontainers.image.ref.name": s.Version,
	})); err != nil {
		return err
	}
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // in the order of names
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(strings.TrimPrefix(path, dir+"/")), Mode: 0o644, Size: int64(len(content)), ModTime: s.Time, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}
