//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/internal/netnstest"
	"github.com/fairlead-lb/fairlead/internal/peertest"
)

const (
	routedServices = 10_000
	routers        = 4
	// calmFor is how long a process has to be calm, so that it has given back what its work left in memory.
	calmFor = 30 * time.Second
	// routedMemory is what the resident memory of a speaker with all of that may be, in bytes.
	routedMemory = 200_000_000
	// routedTime is as long as a speaker with much to compare takes from one time to the next.
	routedTime = 5 * time.Minute
)

// byBGP is a pool that is announced by BGP alone.
const byBGP = `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bgp, namespace: metallb-system}
spec: {addresses: ["198.19.0.0/18"], autoAssign: false}
---
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: bgp, namespace: metallb-system}
spec: {ipAddressPools: [bgp]}
`

// routes announces ten thousand Services by BGP to four routers, and looks at what whole speakers take at rest: one that saw
// the Services come and one that was started with them there.
func routes(m *measurement) {
	runtime.LockOSThread() // the routers end with the thread that starts them
	m.Cleanup(func() {
		m.must(errors.Join(lab.forgetRoutes(context.Background()), lab.clear(context.Background(), true)))
	})
	for _, p := range append([]*cluster.Process{lab.controller}, lab.speakers...) {
		_, err := p.Stop(m.ctx)
		m.must(err)
	}
	hosts, err := routerHosts()
	m.must(err)
	m.must(lab.Apply(m.ctx, byBGP))
	neighbors := make([]*peertest.Router, routers)
	for i, h := range hosts {
		neighbors[i] = peertest.FRR(m, netnstest.Open(m, "/run/netns/"+h.Namespace), router(i), "zebra", "bgpd -n")
		m.must(lab.Apply(m.ctx, fmt.Sprintf(`
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: router-%d, namespace: metallb-system}
spec: {myASN: 64500, peerASN: 64501, peerAddress: %s, connectTime: 1s}
`, i, h.IPv4)))
	}
	m.must(lab.restartSpeaker(m.ctx, 0))
	watch, err := lab.follow(m.ctx)
	m.must(err)
	defer watch.stop()
	m.during(fmt.Sprintf("%d Services and EndpointSlices are created", routedServices), func() error {
		if err := lab.create(m.ctx, routedServices, func(i int) client.Object { return lab.lightEndpoints(number(i)) }); err != nil {
			return err
		}
		return lab.create(m.ctx, routedServices, func(i int) client.Object { return routed(number(i)) })
	})
	m.during("a controller starts and assigns", func() (err error) { // at once, which costs the speaker less than one by one
		if err = lab.startController(m.ctx); err == nil {
			_, err = watch.awaitAddresses(m.ctx, routedServices)
		}
		return err
	})
	m.during("the routers learn them", func() error { return awaitRoutes(m.ctx, neighbors, 0) })
	m.during("the other speakers start", func() error {
		for _, node := range []int{1, 2} {
			if err := lab.restartSpeaker(m.ctx, node); err != nil {
				return err
			}
		}
		return awaitRoutes(m.ctx, neighbors, 0, 1, 2)
	})
	m.during("what was announced is written down", func() error { return lab.awaitNoWrites(m.ctx) })

	processes := []*cluster.Process{lab.speakers[0], lab.speakers[1]}
	m.during("the speakers come to rest", func() error { return awaitRest(processes) })
	found, took := atRest(m, processes, routedTime)
	for i, who := range []string{"speaker that saw them come", "speaker started with them there"} {
		if found.show(m, fmt.Sprintf("routed-%d", i), who, i, took, "< 200 MB", "< 1 %"); found.after[i].Resident > routedMemory {
			m.Errorf("%s: %s of resident memory, want less than %s", who, mib(found.after[i].Resident), mib(routedMemory))
		}
	}
	found.showWrites(m)
}

// awaitRest waits until processes were calm for calmFor.
func awaitRest(processes []*cluster.Process) error {
	for range 10 {
		before, err := usages(processes)
		if err != nil {
			return err
		}
		time.Sleep(calmFor)
		after, err := usages(processes)
		if err != nil {
			return err
		}
		calm := true
		for i := range processes {
			calm = calm && after[i].CPU-before[i].CPU < calmFor/20
		}
		if calm {
			return nil
		}
	}
	return errors.New("they do not")
}

// routerHosts are made once: hosts stay in the segment.
var routerHosts = sync.OnceValues(func() (out []*cluster.Host, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range routers {
		h, err := lab.AddHost(ctx, fmt.Sprintf("router-%d", i), 200+i)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
})

// router is the configuration of a router, whose neighbors are the nodes.
func router(i int) string {
	text := fmt.Sprintf(`
frr defaults datacenter
router bgp 64501
 bgp router-id 10.0.0.%d
 no bgp ebgp-requires-policy
`, 1+i)
	for _, n := range lab.Nodes() {
		text += fmt.Sprintf(` neighbor %s remote-as 64500
 neighbor %[1]s passive
 neighbor %[1]s timers connect 1
`, n.IPv4)
	}
	return text
}

// routed is a light Service with an address that is announced by BGP.
func routed(name string) *corev1.Service {
	s := light(name, "")
	s.Annotations = map[string]string{allocator.AnnotationPool: "bgp"}
	return s
}

// awaitRoutes waits until each router has all routes from these nodes.
func awaitRoutes(ctx context.Context, neighbors []*peertest.Router, nodes ...int) error {
	return cluster.Eventually(ctx, 2*time.Minute, func() error {
		for at, r := range neighbors {
			out, err := r.TryVtysh("show bgp summary json")
			if err != nil {
				return err
			}
			var got struct {
				IPv4 struct {
					Peers map[string]struct{ PfxRcd int }
				} `json:"ipv4Unicast"`
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimSpace(out), err)
			}
			for _, i := range nodes {
				if n := got.IPv4.Peers[lab.Node(i).IPv4.String()].PfxRcd; n != routedServices {
					return fmt.Errorf("router %d has %d of %d routes from node %d", at, n, routedServices, i)
				}
			}
		}
		return nil
	})
}

// restartSpeaker starts the speaker of a node, where none runs, and waits until it is ready.
func (l *installation) restartSpeaker(ctx context.Context, node int) (err error) {
	if l.speakers[node], err = l.StartSpeaker(ctx, node, failback); err != nil {
		return err
	}
	return l.WaitReady(ctx, l.speakers[node])
}

// forgetRoutes deletes what routes configured.
func (l *installation) forgetRoutes(ctx context.Context) error {
	var errs []error
	for _, o := range []client.Object{&v1beta2.BGPPeer{}, &v1beta1.BGPAdvertisement{}} {
		errs = append(errs, l.Client().DeleteAllOf(ctx, o, client.InNamespace(cluster.FairleadNamespace)))
	}
	return errors.Join(errs...)
}
