package debian

import (
	"errors"
	"slices"
	"testing"
)

func TestMissingAndAdvice(t *testing.T) {
	find := func(name string) (string, error) {
		if name == "nft" || name == "gcc" {
			return "", errors.New("not found")
		}
		return "/usr/bin/" + name, nil
	}
	list := missing(find, func(string) bool { return false })
	if got, want := Advice(list), "sudo apt-get install --no-install-recommends nftables gcc libc6-dev containernetworking-plugins"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if list := missing(find, func(string) bool { return true }); len(list) != 2 {
		t.Errorf("missing %v, want nft and gcc", list)
	}
}

func TestFirstKernel(t *testing.T) {
	if got := firstKernel("linux-image-6.1.0-48-cloud-amd64 (= 6.1.172-1)\n"); got != "linux-image-6.1.0-48-cloud-amd64" {
		t.Errorf("got %q", got)
	}
	if got := firstKernel("kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool\n"); got != "" {
		t.Errorf("got %q for the kernel itself", got)
	}
}

func TestLibraries(t *testing.T) {
	got := libraries("iproute2, lsof, libc6 (>= 2.34), libyang2 (>= 2.0.0~) | libyang3, python3:any\n")
	if want := []string{"libc6", "libyang2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
