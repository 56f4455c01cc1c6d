package main

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push puts the image into a registry under a name with registry and tag, as whom `docker login`, `podman login` or `helm registry
// login` have left in the Docker configuration. It returns the name with the digest.
func Push(index v1.ImageIndex, image string) (string, error) {
	tag, err := name.NewTag(image, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("IMAGE is to be like registry.example.com/fairlead:v1: %w", err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("pushing %s: %w", tag, err)
	}
	digest, err := index.Digest()
	return tag.String() + "@" + digest.String(), err
}
