//go:build install

package install

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// registry is where nodes pull from: without TLS, as containerd asks a registry on its own loopback.
const registry = "127.0.0.1:5000"

// blobs are the files of an OCI archive by name. It serves them as a registry does to who may only pull, under any name and tag.
type blobs map[string][]byte

// ServeHTTP answers GET and HEAD of /v2/NAME/manifests/TAG-OR-DIGEST and /v2/NAME/blobs/DIGEST.
func (b blobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	digest := path.Base(r.URL.Path)
	manifest := path.Base(path.Dir(r.URL.Path)) == "manifests"
	if manifest && !strings.HasPrefix(digest, "sha256:") {
		var index struct{ Manifests []struct{ Digest string } }
		if err := json.Unmarshal(b["index.json"], &index); err != nil || len(index.Manifests) != 1 {
			http.Error(w, fmt.Sprint("index.json: ", err), http.StatusInternalServerError)
			return
		}
		digest = index.Manifests[0].Digest
	}
	content, ok := b["blobs/"+strings.Replace(digest, ":", "/", 1)]
	if !ok && r.URL.Path != "/v2/" {
		http.NotFound(w, r)
		return
	}
	kind := struct{ MediaType string }{"application/octet-stream"}
	if manifest {
		_ = json.Unmarshal(content, &kind) // what is no manifest keeps the general type
	}
	w.Header().Set("Content-Type", kind.MediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	_, _ = w.Write(content) // whoever asked may be gone
}

// serveRegistry lets every node pull the image of the release from its registry, as long as the test lasts.
func (u *user) serveRegistry() {
	u.Helper()
	name, err := cluster.Artifact("fairlead-e2e.oci.tar")
	u.must(err)
	archive, err := os.Open(name)
	u.must(err)
	defer func() { _ = archive.Close() }()
	files := blobs{}
	for t := tar.NewReader(archive); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		u.must(err)
		files[h.Name], err = io.ReadAll(t)
		u.must(err)
	}
	for _, node := range lab.Nodes() {
		listener, err := node.Listen(u.ctx, "tcp", registry)
		u.must(err)
		server := &http.Server{Handler: files}
		go func() { _ = server.Serve(listener) }()
		u.Cleanup(func() { _ = server.Close() })
	}
}
