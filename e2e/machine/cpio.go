package machine

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// archive writes the format that the Linux kernel unpacks as its first file system: cpio's "newc"
// (Documentation/driver-api/early-userspace/buffer-format.rst). The first error is kept and returned by close.
type archive struct {
	w    io.Writer
	seen map[string]bool // folders that were written
	err  error
}

func newArchive(w io.Writer) *archive { return &archive{w: w, seen: map[string]bool{".": true}} }

// Types of files in a mode, as in stat(2).
const (
	modeFolder = 0o040000
	modeFile   = 0o100000
	modeLink   = 0o120000
)

func (a *archive) entry(name string, mode uint32, content []byte) {
	if a.err != nil {
		return
	}
	// Magic, inode, mode, uid, gid, links, mtime, size, device, special device, length of the name with its NUL, checksum.
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	for _, part := range [][]byte{pad([]byte(header + name + "\x00")), pad(content)} {
		if _, err := a.w.Write(part); err != nil {
			a.err = err
			return
		}
	}
}

// pad fills up to a multiple of four bytes.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b[:len(b):len(b)], 0)
	}
	return b
}

// folder writes a folder and those that it is in, once each.
func (a *archive) folder(name string) {
	if a.seen[name] {
		return
	}
	a.folder(path.Dir(name))
	a.seen[name] = true
	a.entry(name, modeFolder|0o755, nil)
}

func (a *archive) bytes(name string, perm uint32, content []byte) {
	a.folder(path.Dir(name))
	a.entry(name, modeFile|perm, content)
}

func (a *archive) link(name, target string) {
	a.folder(path.Dir(name))
	a.entry(name, modeLink|0o777, []byte(target))
}

// file copies a file; what a symbolic link refers to is copied in its place. All files are executable.
func (a *archive) file(name, from string) {
	content, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.bytes(name, 0o755, content)
}

// tree copies a file or a folder with all that is in it.
func (a *archive) tree(name, from string) {
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err == nil {
			a.file(path.Join(name, filepath.ToSlash(rel)), p)
		}
		return err
	})
	if err != nil && a.err == nil {
		a.err = err
	}
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}
