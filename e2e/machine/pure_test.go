package machine

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestArchive: each name and content stands in the archive once, and padded, so that another archive can follow.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.bytes("t/a", 0o755, []byte("hello"))
	a.bytes("t/b", 0o644, nil)
	a.link("bin/sh", "busybox")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes: not a multiple of four, so no other archive can follow", b.Len())
	}
	for _, want := range []string{"t/a\x00", "hello\x00\x00\x00070701", "busybox\x00070701", "TRAILER!!!\x00"} {
		if !bytes.Contains(b.Bytes(), []byte(want)) {
			t.Errorf("%q is not in the archive", want)
		}
	}
	if n := bytes.Count(b.Bytes(), []byte("t\x00")); n != 1 {
		t.Errorf("the folder t stands %d times in the archive", n)
	}
}

func TestArchiveKeepsTheFirstError(t *testing.T) {
	a := newArchive(io.Discard)
	a.tree("t", filepath.Join(t.TempDir(), "absent"))
	a.bytes("t/a", 0o755, nil)
	if err := a.close(); !os.IsNotExist(err) {
		t.Errorf("got %v, want that a file is missing", err)
	}
}

func TestDependencies(t *testing.T) {
	index := "kernel/ipvs/ip_vs.ko: kernel/nf_conntrack.ko kernel/libcrc32c.ko\nkernel/ipvs/ip_vs_rr.ko: kernel/ipvs/ip_vs.ko kernel/nf_conntrack.ko\nkernel/nf-other.ko:\n"
	got := dependencies(index, []string{"ip_vs_rr", "nf_other"})
	want := []string{"kernel/ipvs/ip_vs.ko", "kernel/ipvs/ip_vs_rr.ko", "kernel/nf-other.ko", "kernel/nf_conntrack.ko"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExitStatus(t *testing.T) {
	for text, want := range map[string]int{"exit 0\n": 0, "boot\nexit 3\r\n": 3, "": -1, "exit x\n": -1} {
		got, ok := exitStatus(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// TestScript: a shell sees the arguments as they were given.
func TestScript(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "program"), []byte("#!/bin/sh\nprintf '%s|' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", (&Options{Args: []string{"-test.run=^A$", "it's", "a b", "$HOME"}}).script())
	cmd.Dir = dir
	out, err := cmd.Output()
	if want := "-test.run=^A$|it's|a b|$HOME|"; err != nil || string(out) != want {
		t.Errorf("got %q (%v), want %q", out, err, want)
	}
}
