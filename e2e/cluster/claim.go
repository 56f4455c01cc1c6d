package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// claimDir holds one file per cluster on this machine. Its owner keeps the file locked; the kernel drops the lock with
// the process, however that ends, so a file that can be locked is a leftover.
const claimDir = "/run/fairlead-e2e"

// A claim is the right to a cluster's name.
type claim struct {
	file *os.File // locked
	path string
}

// claimed is what a claim's file says.
type claimed struct {
	PID int    `json:"pid"`
	Dir string `json:"dir"`
}

// claimName takes the name, after sweeping away what a dead owner left under it.
func claimName(name, dir string) (*claim, error) {
	if err := os.MkdirAll(claimDir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(claimDir, name)
	file, owner, err := lockClaim(path, os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("claiming the name %s: %w", name, err)
	}
	cl := &claim{file: file, path: path}
	if owner.PID != 0 {
		err = sweepCluster(name, owner)
	}
	text, _ := json.Marshal(claimed{PID: os.Getpid(), Dir: dir}) // two plain fields: cannot fail
	if err = errors.Join(err, file.Truncate(0)); err == nil {
		_, err = file.WriteAt(append(text, '\n'), 0)
	}
	if err != nil {
		cl.release()
		return nil, fmt.Errorf("claiming the name %s: %w", name, err)
	}
	return cl, nil
}

// errOwned is that a live process holds a claim.
var errOwned = errors.New("in use")

// lockClaim opens and locks a claim's file and reads what its last owner wrote.
func lockClaim(path string, flag int) (*os.File, claimed, error) {
	var owner claimed
	for {
		file, err := os.OpenFile(path, os.O_RDWR|flag, 0o644)
		if err != nil {
			return nil, owner, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			text, _ := os.ReadFile(path)
			file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, owner, fmt.Errorf("%w by %s", errOwned, strings.TrimSpace(string(text)))
			}
			return nil, owner, err
		}
		// Its owner may have removed the file between open and lock: then this is no longer the file of that name.
		mine, err1 := file.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, named) {
			if err := json.NewDecoder(file).Decode(&owner); err != nil {
				owner = claimed{} // fresh, or cut off before anything was created
			}
			return file, owner, nil
		}
		file.Close()
	}
}

// release gives the name back.
func (cl *claim) release() error {
	return errors.Join(os.Remove(cl.path), cl.file.Close())
}

// Sweep removes what clusters left whose process was killed; Start does so by itself. It tells log what it removes.
func Sweep(log io.Writer) error {
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	return sweep(&progress{w: log})
}

// sweep removes what killed owners of any cluster left on this machine: processes, namespaces, folders.
func sweep(log *progress) error {
	entries, err := os.ReadDir(claimDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(claimDir, e.Name())
		file, owner, err := lockClaim(path, 0)
		if errors.Is(err, errOwned) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		log.line("Removing what cluster %s left; its owner, process %d, is gone.", e.Name(), owner.PID)
		if err := sweepCluster(e.Name(), owner); err != nil {
			errs = append(errs, err)
			file.Close() // the file stays for the next attempt
			continue
		}
		errs = append(errs, os.Remove(path), file.Close())
	}
	return errors.Join(errs...)
}

func sweepCluster(name string, owner claimed) error {
	var errs []error
	for _, ns := range namespacesOf(name) {
		errs = append(errs, deleteNamespace(ns))
	}
	if owner.Dir != "" {
		errs = append(errs, endContainers(owner.Dir), os.RemoveAll(owner.Dir))
	}
	return errors.Join(errs...)
}
