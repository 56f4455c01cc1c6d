package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// addPod adds a pod of the Service to a node.
func (d *demo) addPod(ctx context.Context, node int) error {
	pod, err := d.c.AddPod(ctx, cluster.PodOptions{
		Node: node, Name: fmt.Sprintf("huazi-%d", node), Labels: map[string]string{"app": "huazi"},
	})
	if err == nil {
		d.pods = append(d.pods, pod)
	}
	return err
}

// externalIP is the address that the Service has been given.
func (d *demo) externalIP(ctx context.Context) (netip.Addr, error) {
	var service corev1.Service
	if err := d.c.Client().Get(ctx, client.ObjectKey{Namespace: "default", Name: "huazi"}, &service); err != nil {
		return netip.Addr{}, err
	}
	if len(service.Status.LoadBalancer.Ingress) == 0 {
		return netip.Addr{}, errors.New("the Service huazi has no address")
	}
	return netip.ParseAddr(service.Status.LoadBalancer.Ingress[0].IP)
}

// ask asks once, from outside.
func (d *demo) ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := d.c.Outside().HTTPGet(ctx, url)
	return err
}

// answers waits for that many more answers.
func (d *demo) answers(ctx context.Context, probe *cluster.Probe, more int) error {
	want := probe.Answered() + more
	return cluster.Eventually(ctx, patience, func() error {
		if have := probe.Answered(); have < want {
			return fmt.Errorf("%d answers are missing: %w", want-have, probe.Report().LastError)
		}
		return nil
	})
}

// nodeOf is the index of the node whose MAC address this is.
func (d *demo) nodeOf(mac net.HardwareAddr) (int, error) {
	node := slices.Index(d.c.Nodes(), d.c.HostOf(mac))
	if node < 0 {
		return 0, fmt.Errorf("%s is no node's MAC address", mac)
	}
	return node, nil
}

// lastWords are the ends of the logs of Fairlead's processes, for a demo that failed.
func (d *demo) lastWords() string {
	var text strings.Builder
	for _, p := range d.speakers {
		fmt.Fprintf(&text, "last lines of %s:\n%s\n", p.Name, p.Tail(5))
	}
	return text.String()
}
