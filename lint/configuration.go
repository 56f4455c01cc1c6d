package lint

// This file holds how objects of our groups, and the Secrets that they name, get from documents into policy.Objects.

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/api/v1alpha1"
	"github.com/fairlead-lb/fairlead/internal/verdict"
	"github.com/fairlead-lb/fairlead/policy"
)

// ownGroup says whether the kinds of a group are ours to check.
func ownGroup(group string) bool {
	return slices.Contains([]string{v1beta1.GroupVersion.Group, v1alpha1.GroupVersion.Group}, group)
}

// configuration checks an object of our groups on its own and keeps it for what is to be said of all together.
func (c *checker) configuration(d *document) {
	s := c.schemas.of(d)
	if s == nil {
		c.tell(d, "apiVersion", Error, verdict.InvalidManifest, "%s: %s", d, c.schemas.unknown(d))
		return
	}
	c.validate(d, s)
	if d.namespace == "" {
		d.namespace = c.home
	}
	id := policy.Ref{Kind: d.kind, Namespace: d.namespace, Name: d.name, UID: fmt.Sprintf("%s:%d", d.file, d.line(""))}
	if !c.first(d) {
		return
	}
	if text := id.Elsewhere(c.home); text != "" {
		c.tell(d, "metadata.namespace", Error, verdict.WrongNamespace, "%s", text)
		return
	}
	c.byUID[id.UID] = d
	c.keep(d, types.UID(id.UID))
}

// first says whether no document before names the same object.
func (c *checker) first(d *document) bool {
	id := identity{d.group, d.kind, d.namespace, d.name}
	other, ok := c.seen[id]
	if ok {
		c.tell(d, "metadata.name", Error, verdict.DuplicateName, "%s stands here again, and in %s:%d: one overwrites the other", d, other.file, other.line(""))
		return false
	}
	c.seen[id] = d
	return true
}

// keep puts the object among those that are compiled, as far as it can be read.
func (c *checker) keep(d *document, uid types.UID) {
	o := &c.objects
	switch d.kind {
	case "IPAddressPool":
		keep(c, d, uid, &o.Pools)
	case "L2Advertisement":
		keep(c, d, uid, &o.L2Advertisements)
	case "AddressPolicy":
		keep(c, d, uid, &o.AddressPolicies)
	case "AddressReservation":
		keep(c, d, uid, &o.AddressReservations)
	case "NodePortRange":
		keep(c, d, uid, &o.NodePortRanges)
	case "BGPAdvertisement":
		keep(c, d, uid, &o.BGPAdvertisements)
	case "BFDProfile":
		keep(c, d, uid, &o.BFDProfiles)
	case "Community":
		keep(c, d, uid, &o.Communities)
	case "BGPPeer":
		c.keepPeer(d, uid)
	}
}

// keepPeer keeps a BGPPeer of either version.
func (c *checker) keepPeer(d *document, uid types.UID) {
	if d.version != v1beta1.GroupVersion.Version {
		keep(c, d, uid, &c.objects.BGPPeers)
		return
	}
	var old []v1beta1.BGPPeer
	keep(c, d, uid, &old)
	var p v1beta2.BGPPeer
	old[0].ToV1beta2(&p)
	c.objects.BGPPeers = append(c.objects.BGPPeers, p)
	c.tell(d, "apiVersion", Warning, verdict.NoEffect, "%s: version v1beta1 is served only where config/webhook/conversion is applied: write it as v1beta2", d)
}

func keep[T any, P interface {
	*T
	metav1.Object
}](c *checker, d *document, uid types.UID, list *[]T) {
	var o T
	if err := json.Unmarshal(d.json, &o); err != nil && !d.broken {
		d.broken = true
		c.tell(d, "", Error, verdict.InvalidManifest, "%s: %v", d, err)
	}
	P(&o).SetUID(uid)
	P(&o).SetNamespace(d.namespace)
	*list = append(*list, o)
}

// secret keeps what a BGPPeer may name. Where there are no Secrets among the manifests, nothing is said about them.
func (c *checker) secret(d *document) {
	var s corev1.Secret
	if json.Unmarshal(d.json, &s) != nil {
		return // not ours to check
	}
	if d.namespace == "" {
		d.namespace = c.home
	}
	password := policy.Password(s.Data[corev1.BasicAuthPasswordKey])
	if text, ok := s.StringData[corev1.BasicAuthPasswordKey]; ok {
		password = policy.Password(text)
	}
	if c.objects.Secrets == nil {
		c.objects.Secrets = map[policy.SecretKey]policy.Secret{}
	}
	c.objects.Secrets[policy.SecretKey{Namespace: d.namespace, Name: d.name}] = policy.Secret{Type: s.Type, Password: password}
}
