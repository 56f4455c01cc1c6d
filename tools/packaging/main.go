// Command packaging makes what a release consists of, in a module of its own, so that the product's go.mod names neither
// Helm nor an image library.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

// run makes the artifacts that are named: manifests, chart, image; push puts the image into a registry; kubernetes is what the tests
// know of its versions.
func run(args []string) error {
	flags := flag.NewFlagSet("packaging", flag.ContinueOnError)
	root := flags.String("root", "../..", "the repository")
	version := flags.String("version", "dev", "the version to stamp, as git describe says it")
	image := flags.String("image", "", "the image to push, which the manifests name: REGISTRY/NAME:TAG; empty: that of the release")
	arch := flags.String("arch", "amd64,arm64", "architectures of the image")
	out := flags.String("out", "../../dist", "folder for the results")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	if *image == "" {
		*image = repository + ":" + *version
	}
	for _, what := range flags.Args() {
		name, err := build(what, *root, *version, *image, *out, strings.Split(*arch, ","))
		if err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

// build makes one artifact and returns its file's name, or that of the image.
func build(what, root, version, image, out string, architectures []string) (string, error) {
	switch what {
	case "manifests":
		m, err := Manifests(root, image)
		if err != nil {
			return "", err
		}
		name := filepath.Join(out, "fairlead.yaml")
		return name, os.WriteFile(name, m, 0o644)
	case "chart":
		return PackageChart(root, version, out)
	case "image", "push":
		s, err := SourceAt(root, version)
		if err != nil {
			return "", err
		}
		index, err := BuildImage(s, architectures)
		if err != nil {
			return "", err
		}
		if what == "push" {
			return Push(index, image)
		}
		name := filepath.Join(out, "fairlead-"+version+".oci.tar")
		return name, WriteArchive(index, s, name)
	case "kubernetes":
		facts, err := Facts(Supported())
		if err != nil {
			return "", err
		}
		name := filepath.Join(root, "tools", "packaging", "testdata", "kubernetes.jsonl")
		return name, os.WriteFile(name, facts, 0o644)
	}
	return "", fmt.Errorf("%q: want manifests, chart, image, push or kubernetes", what)
}
