package machine

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-lb/fairlead/e2e/debian"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

//go:embed init.sh
var initScript []byte

// edition changes with whatever goes into the machine, so that a cached file system of an older one is made anew.
const edition = "4"

// modules are those that tests need; their dependencies follow. What is built into the kernel is not among its files.
func modules() []string {
	return strings.Fields(`
		ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_sh ip_vs_dh ip_vs_mh ip_vs_sed ip_vs_nq
		dummy veth bridge bonding 8021q vrf macvlan
		nf_conntrack nf_conntrack_netlink nf_nat nf_tables nft_ct nft_nat nft_masq nft_redir nft_chain_nat nft_limit nft_log
		nft_reject nft_reject_inet nft_reject_ipv4 nft_reject_ipv6 nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_numgen
		ip_set ip_set_bitmap_port ip_set_hash_ip ip_set_hash_ipport ip_set_hash_ipportip ip_set_hash_ipportnet
		xt_set xt_addrtype xt_comment xt_conntrack xt_ipvs xt_mark xt_multiport xt_nat xt_statistic xt_tcpudp xt_MASQUERADE
		ipt_REJECT ip6t_REJECT nft_hash nft_objref nft_compat sctp inet_diag tcp_diag udp_diag crc32c_generic
		virtio_pci virtio_net`)
}

// tools are the commands of this machine that tests call in the other one, beside busybox's.
func tools() []string { return []string{"ip", "bridge", "nft", "conntrack", "nsenter"} }

// files are what Prepare leaves in the cache.
type files struct{ kernel, initramfs string }

func locate() (f files, err error) {
	cache, err := kubebin.CacheDir()
	if err != nil {
		return f, err
	}
	dir := filepath.Join(cache, "machine", edition)
	return files{filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "base.cpio")}, nil
}

func find() (files, error) {
	f, err := locate()
	if err == nil {
		_, err = os.Stat(f.initramfs)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: run make setup", err)
	}
	return f, err
}

// Prepare makes the kernel and the file system of machines, once, from Debian packages that debian.Install has unpacked.
func Prepare(ctx context.Context, log io.Writer) error {
	f, err := locate()
	if err != nil {
		return err
	}
	if _, err := find(); err == nil {
		return nil
	}
	fmt.Fprintf(log, "Making the file system of virtual machines in %s\n", filepath.Dir(f.initramfs))
	if err := os.MkdirAll(filepath.Dir(f.initramfs), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(f.initramfs), "*.part")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := prepare(ctx, f, work); err != nil {
		return fmt.Errorf("making the file system of virtual machines: %w", err)
	}
	return nil
}

func prepare(ctx context.Context, f files, work string) error {
	linux, err := debian.Unpacked("linux-image-cloud-amd64")
	if err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(linux, "boot", "vmlinuz-*"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%s has the kernels %q (%v), want one", linux, found, err)
	}
	kernel, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.kernel, kernel, 0o644); err != nil {
		return err
	}
	path := filepath.Join(work, "base.cpio")
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	w := bufio.NewWriter(out)
	a := newArchive(w)
	err = errors.Join(system(ctx, a), drivers(ctx, a, linux, strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-"), work))
	if err := errors.Join(err, a.close(), w.Flush(), out.Close()); err != nil {
		return err
	}
	return os.Rename(path, f.initramfs)
}

// system adds the shell, the commands with their libraries, and the few files in /etc that libraries read.
func system(ctx context.Context, a *archive) error {
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "root", "var", "t"} {
		a.folder(dir)
	}
	a.link("var/run", "../run")
	a.bytes("init", 0o755, initScript)
	a.bytes("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/bin/sh\n"))
	a.bytes("etc/group", 0o644, []byte("root:x:0:\n"))
	a.bytes("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.bytes("etc/protocols", 0o644, []byte("icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nsctp 132 SCTP\n")) // ipset reads it
	if err := busybox(ctx, a); err != nil {
		return err
	}
	ipvsadm, err := debian.Unpacked("ipvsadm")
	if err != nil {
		return err
	}
	ipset, err := debian.Unpacked("ipset")
	if err != nil {
		return err
	}
	iptables, err := iptables(a)
	if err != nil {
		return err
	}
	programs := []string{filepath.Join(ipvsadm, "sbin", "ipvsadm"), filepath.Join(ipset, "usr", "sbin", "ipset"), iptables}
	for _, t := range tools() {
		p, err := debian.Find(t)
		if err != nil {
			return err
		}
		programs = append(programs, p)
	}
	shared := map[string]bool{}
	for _, p := range programs {
		a.file("sbin/"+filepath.Base(p), p)
		libraries, err := libraries(ctx, p)
		if err != nil {
			return err
		}
		for _, l := range libraries {
			if !shared[l] {
				shared[l] = true
				a.file(strings.TrimPrefix(l, "/"), l)
			}
		}
	}
	return nil
}

// iptables adds the names of the command, as kube-proxy calls it, and its extensions, and returns the program.
func iptables(a *archive) (program string, err error) {
	dir, err := debian.Unpacked("iptables")
	if err != nil {
		return "", err
	}
	extensions, err := filepath.Glob(filepath.Join(dir, "usr", "lib", "*", "xtables"))
	if err != nil || len(extensions) != 1 {
		return "", fmt.Errorf("%s has the folders of extensions %q (%v), want one", dir, extensions, err)
	}
	a.tree(strings.TrimPrefix(extensions[0], dir+"/"), extensions[0])
	const name = "xtables-nft-multi"
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			a.link("sbin/"+family+verb, name)
		}
	}
	return filepath.Join(dir, "usr", "sbin", name), nil
}

// busybox adds the shell and its commands, but those that come from elsewhere.
func busybox(ctx context.Context, a *archive) error {
	dir, err := debian.Unpacked("busybox-static")
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "bin", "busybox")
	names, err := exec.CommandContext(ctx, program, "--list").Output()
	if err != nil {
		return fmt.Errorf("asking busybox for its commands: %w", err)
	}
	a.file("bin/busybox", program)
	a.link("sbin/modprobe", "../bin/busybox") // where the kernel looks for it
	for name := range strings.FieldsSeq(string(names)) {
		if name != "busybox" && name != "init" && !slices.Contains(tools(), name) {
			a.link("bin/"+name, "busybox")
		}
	}
	return nil
}

// libraries lists the shared libraries of a program, with the loader.
func libraries(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the libraries of %s: %w", program, err)
	}
	if strings.Contains(string(out), "not found") {
		return nil, fmt.Errorf("libraries of %s are missing:\n%s", program, out)
	}
	return regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), nil
}

// drivers adds the kernel's modules and the index by which modprobe finds them.
func drivers(ctx context.Context, a *archive, linux, version, work string) error {
	dir := filepath.Join("lib", "modules", version)
	if err := depmod(ctx, linux, version); err != nil {
		return err
	}
	index, err := os.ReadFile(filepath.Join(linux, dir, "modules.dep"))
	if err != nil {
		return err
	}
	needed := dependencies(string(index), modules())
	for _, m := range needed {
		a.file(filepath.Join(dir, m), filepath.Join(linux, dir, m))
	}
	for _, name := range []string{"modules.dep", "modules.alias", "modules.symbols", "modules.builtin", "modules.order"} {
		a.file(filepath.Join(dir, name), filepath.Join(linux, dir, name))
	}
	return nil
}

// depmod writes the index of the modules, which the package leaves to its installation.
func depmod(ctx context.Context, linux, version string) error {
	dir, err := debian.Unpacked("busybox-static")
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "bin", "busybox"), "depmod", "-b", linux, version).CombinedOutput()
	if err != nil {
		return fmt.Errorf("indexing the modules of %s: %w\n%s", linux, err, out)
	}
	return nil
}

// dependencies returns the files of the modules and of all that they need, by the lines "file: file file" of modules.dep.
func dependencies(index string, modules []string) (files []string) {
	for line := range strings.Lines(index) {
		file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".ko")
		if slices.Contains(modules, strings.ReplaceAll(name, "-", "_")) {
			files = append(files, file)
			files = append(files, strings.Fields(needs)...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
