package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// built is the image of this source for the two architectures, written and read again.
func built(t *testing.T, s Source) (archive []byte, index v1.ImageIndex) {
	t.Helper()
	i, err := BuildImage(s, []string{"amd64", "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := WriteArchive(i, s, name); err != nil {
		t.Fatal(err)
	}
	archive, err = os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range unpack(t, archive) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := all.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("%v, %d entries, want the one index", err, len(m.Manifests))
	}
	if got, want := m.Manifests[0].Annotations["io.containerd.image.name"], "ghcr.io/fairlead-lb/fairlead:v1.2.3"; got != want {
		t.Errorf("containerd would call it %q, want %q", got, want)
	}
	index, err = all.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return archive, index
}

func unpack(t *testing.T, packed []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(packed))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// copied is a copy of what the image is built from, elsewhere and with other times.
func copied(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	list, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.go", "go.mod", "go.sum", "LICENSE", "config", "statuspage").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // deleted and not committed yet
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestImage(t *testing.T) {
	s, err := SourceAt(root, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	archive, index := built(t, s)

	t.Run("the same source makes the same bytes", func(t *testing.T) {
		again := s
		again.Root = copied(t)
		second, i := built(t, again)
		a, _ := index.Digest()
		b, _ := i.Digest()
		if a != b || !bytes.Equal(archive, second) {
			t.Errorf("two builds made %s (%d bytes) and %s (%d bytes)", a, len(archive), b, len(second))
		}
	})

	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range m.Manifests {
		platforms = append(platforms, d.Platform.String())
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(d.Platform.Architecture, func(t *testing.T) { checkImage(t, image, d.Platform.Architecture) })
	}
	if d := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); d != "" {
		t.Error(d)
	}
}

func checkImage(t *testing.T, image v1.Image, arch string) {
	c, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != arch || c.Config.User != "65534:65534" || !cmp.Equal(c.Config.Entrypoint, []string{"/fairlead"}) {
		t.Errorf("configuration %+v", c.Config)
	}
	if got := c.Config.Labels["org.opencontainers.image.version"]; got != "v1.2.3" {
		t.Errorf("labelled with the version %q", got)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%v, %d layers", err, len(layers))
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, packed)
	if len(files) != 3 || len(files["usr/share/doc/fairlead/LICENSE"]) == 0 {
		t.Errorf("there are %d files, want the binary, the license and the bill of materials", len(files))
	}
	checkSBOM(t, files["usr/share/doc/fairlead/sbom.spdx.json"])
	if arch == "amd64" {
		runs(t, files["fairlead"])
	}
}

// runs starts the binary, which needs nothing around it.
func runs(t *testing.T, binary []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fairlead")
	if err := os.WriteFile(name, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(name, "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "v1.2.3") {
		t.Errorf("%v, %s", err, out)
	}
}

// checkSBOM checks what SPDX 2.3 demands, and that what everybody would look for is listed.
func checkSBOM(t *testing.T, text []byte) {
	t.Helper()
	var doc spdx
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.SPDXID != "SPDXRef-DOCUMENT" || doc.Name == "" || doc.DocumentNamespace == "" {
		t.Errorf("head %+v", doc)
	}
	ids, names := map[string]bool{doc.SPDXID: true}, map[string]bool{}
	for _, p := range doc.Packages {
		if ids[p.SPDXID] || p.VersionInfo == "" || p.DownloadLocation == "" {
			t.Errorf("package %+v", p)
		}
		ids[p.SPDXID], names[p.Name] = true, true
	}
	for _, name := range []string{"github.com/fairlead-lb/fairlead", "stdlib", "k8s.io/client-go", "sigs.k8s.io/controller-runtime", "github.com/hashicorp/memberlist"} {
		if !names[name] {
			t.Errorf("%s is not listed", name)
		}
	}
	for _, r := range doc.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("a relationship of nothing: %+v", r)
		}
	}
}
