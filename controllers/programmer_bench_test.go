//go:build linux

package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/ipvs"
	"github.com/fairlead-lb/fairlead/ipvs/kernel"
	"github.com/fairlead-lb/fairlead/ipvs/mode"
	"github.com/fairlead-lb/fairlead/ipvs/plan"
)

// memoryKernel is a node whose kernel is in memory.
type memoryKernel struct{ *kernel.Programmer }

func (memoryKernel) Look(context.Context) (plan.Local, error) {
	return plan.Local{Addresses: parse([]string{"10.0.0.1"}), Proxy: plan.ProxyNFTables}, nil
}

// quietFilter is a packet filter that takes everything, at no cost.
type quietFilter struct{}

func (quietFilter) Read() ([]kernel.Element, bool, error)                 { return nil, false, nil }
func (quietFilter) State() (uint32, bool, error)                          { return 1, true, nil }
func (quietFilter) Commit(bool, []kernel.Element, []kernel.Element) error { return nil }
func (quietFilter) Delete() error                                         { return nil }

// balancerAt is the i-th of many load balancers, with ten endpoints; a node has those of every twentieth.
func balancerAt(i int) (*corev1.Service, *discoveryv1.EndpointSlice) {
	s := huazi(assigned(netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)}).String()), annotated(mode.Annotation, mode.IPVS))
	s.Name, s.UID = fmt.Sprint("s", i), types.UID(fmt.Sprint("u", i))
	s.Spec.ClusterIP, s.Spec.Ports = "10.96.0.7", []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}}
	port, name, protocol, yes := int32(8080), "http", corev1.ProtocolTCP, true
	e := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	for k := range 10 {
		node := fmt.Sprint("n", 1+(10*i+k)%200)
		e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{netip.AddrFrom4([4]byte{10, 128 + byte(k), byte(i >> 8), byte(i)}).String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		})
	}
	return s, e
}

// BenchmarkRound is what one changed EndpointSlice costs a programmer of 5,000 Services with 10 endpoints each: from what its
// cache keeps to the kernel's edge and to the report. cpu-ms/op is processor time, the garbage collector's included.
func BenchmarkRound(b *testing.B) {
	b.Run("a pod elsewhere", func(b *testing.B) { benchmarkRound(b, 9) })
	b.Run("a pod of this node", func(b *testing.B) { benchmarkRound(b, 0) }) // which changes the packet filter, too
}

// benchmarkRound takes away every other time the endpoint with that number.
func benchmarkRound(b *testing.B, gone int) {
	const many = 5000
	var objects []client.Object
	var changing *discoveryv1.EndpointSlice
	for i := range many {
		s, e := balancerAt(i)
		objects = append(objects, s, e)
		if i == 4000 {
			changing = e
		}
	}
	p := &Programming{Namespace: "metallb-system", Node: "n1", Options: ProgrammingOptions{Drain: time.Minute}, upkeep: newUpkeep(), Log: slog.New(slog.DiscardHandler)}
	p.kept, p.Client = keepsAs(b, p.Configure, objects...), fakeClient(b).Build()
	p.metrics, p.States = newProgrammingMetrics(), &ProgrammerStates{upkeep: newUpkeep()}
	objects = nil
	fake := kernel.NewFake()
	held := &kernel.Programmer{Log: p.Log, Servers: fake, Device: kernel.FakeDevice{Fake: fake}, Filter: quietFilter{}}
	told := make(chan struct{})
	p.programmer = &ipvs.Programmer{
		Log: p.Log, Node: p.Node, Kernel: memoryKernel{held}, View: p.view, Dirty: p.upkeep.dirty, Synced: p.metrics.synced,
		Changed: func() { p.report(); told <- struct{}{} },
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- p.programmer.Run(ctx) }()
	<-told
	if r := p.programmer.Report(); !r.Ready || len(r.Addresses) != many || r.Reals != 10*many {
		b.Fatalf("it serves %d addresses by %d real servers, ready %v: %+v", len(r.Addresses), r.Reals, r.Ready, r.Problems)
	}
	calls, rounds, used := len(fake.Calls), 0, processorTime(b)
	for b.Loop() {
		rounds++
		e := changing.DeepCopy()
		if rounds%2 == 1 {
			e.Endpoints = slices.Delete(e.Endpoints, gone, gone+1)
		}
		if err := p.kept.slices.Update(e); err != nil {
			b.Fatal(err)
		}
		p.upkeep.mark()
		<-told
	}
	b.ReportMetric((processorTime(b)-used).Seconds()*1000/float64(rounds), "cpu-ms/op")
	b.ReportMetric(float64(len(fake.Calls)-calls)/float64(rounds), "calls/op")
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// processorTime is what this process has used, in the kernel too.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
