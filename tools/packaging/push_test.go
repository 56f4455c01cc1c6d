package main

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestPush: what was pushed can be pulled, by its tag and as it was.
func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	image := strings.TrimPrefix(server.URL, "http://") + "/lb/fairlead:v1"
	index, err := random.Index(64, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Push(index, image)
	if err != nil || got != image+"@"+want.String() {
		t.Errorf("pushed %s, %v", got, err)
	}
	tag, err := name.NewTag(image)
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Index(tag)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := pulled.Digest(); err != nil || d != want {
		t.Errorf("pulled %s, %v, want %s", d, err, want)
	}
	for _, wrong := range []string{"fairlead", "fairlead:v1", server.Listener.Addr().String() + "/fairlead", "a b"} {
		if _, err := Push(index, wrong); err == nil || !strings.Contains(err.Error(), "registry.example.com/fairlead:v1") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if _, err := Push(index, "127.0.0.1:1/fairlead:v1"); err == nil {
		t.Error("pushed to nowhere")
	}
}

// TestManifestsNameTheImage that they are made for, in every pod.
func TestManifestsNameTheImage(t *testing.T) {
	text, err := Manifests(root, "registry.example.com/lb/fairlead:v7")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "image: registry.example.com/lb/fairlead:v7\n"); n != 2 || strings.Contains(string(text), repository) {
		t.Errorf("named %d times:\n%.300s", n, text)
	}
}
