//go:build e2e

package faults

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
)

// TestNoAddressIsGivenTwice has several clients at work on many Services and few addresses while controllers are killed,
// paused past their lease and woken, and blind to what happens, and while the API server is restarted. At no time is an
// address announced for two Services, and in the end none has two.
func TestNoAddressIsGivenTwice(t *testing.T) {
	l := install(t, 2)
	l.must(l.Apply(l.ctx, fmt.Sprintf(`
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: few, namespace: metallb-system}
spec: {addresses: [%s-%s]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: all, namespace: metallb-system}
`, address(0), address(addresses-1))))
	var g errgroup.Group
	g.SetLimit(8)
	for i := range services {
		g.Go(func() error { return l.Client().Create(l.ctx, l.endpoints(i)) })
		if i%2 == 0 {
			g.Go(func() error { return l.Client().Create(l.ctx, fresh(i)) })
		}
	}
	l.must(g.Wait())
	l.leader()
	l.serves()
	guard, clients := l.startGuard(), l.startClients(4, services, addresses)
	for range rounds {
		for _, f := range []struct {
			what  string
			fault func()
		}{
			{"the leader is killed", l.leaderKilled},
			{"the leader is paused past its lease and woken", l.leaderPaused},
			{"the controllers' watches are stale", l.watchesStale},
			{"the leader is killed while the next one's watches are stale", l.leaderKilledWhileStale},
			{"the API server is killed and started again", l.apiServerRestarted},
		}[leaveOut:] {
			begin := time.Now()
			f.fault()
			l.serves()
			t.Logf("%s: %s until all is well", f.what, time.Since(begin).Round(100*time.Millisecond))
		}
	}
	did := clients.stop()
	l.settles()
	guard.stop()
	t.Logf("%s; %d looks at %d announcements in all", did, guard.looks, guard.seen)
	if guard.seen < guard.looks*addresses/4 {
		t.Errorf("only %d announcements were seen in %d looks: the test sees nothing", guard.seen, guard.looks)
	}
	for _, f := range guard.faults {
		t.Error(f)
	}
	l.answered(10)
}

func (l *installation) leaderKilled() {
	l.must(l.leader().Kill())
	l.startController()
}

// leaderPaused stops the leader until another one leads, and wakes it: it ends by itself.
func (l *installation) leaderPaused() {
	old := l.leader()
	l.must(old.Signal(unix.SIGSTOP))
	l.controllers = slices.DeleteFunc(l.controllers, func(p *cluster.Process) bool { return p == old })
	l.leader()
	l.serves()
	l.must(old.Signal(unix.SIGCONT))
	select {
	case <-old.Done():
	case <-time.After(patience):
		l.Error("the leader that was woken goes on")
		l.must(old.Kill())
	}
	l.startController()
}

func (l *installation) watchesStale() {
	l.gate.shut()
	time.Sleep(3 * time.Second)
	l.gate.open()
}

// leaderKilledWhileStale has a controller become the leader that does not see what the one before it wrote last.
func (l *installation) leaderKilledWhileStale() {
	l.gate.shut()
	time.Sleep(time.Second)
	l.must(l.leader().Kill())
	l.leader()
	time.Sleep(time.Second)
	l.gate.open()
	l.startController()
}

func (l *installation) apiServerRestarted() {
	l.must(l.RestartAPIServer(l.ctx))
}

// serves waits until a Service that is created gets an address, from a pool of its own.
func (l *installation) serves() {
	l.Helper()
	const name = "canary"
	canary := fresh(0)
	canary.Name, canary.Annotations = name, map[string]string{"metallb.io/address-pool": "canary"}
	l.must(cluster.Eventually(l.ctx, patience, func() error {
		return l.Apply(l.ctx, "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: canary, namespace: metallb-system}, spec: {addresses: [198.19.0.1/32], autoAssign: false}}")
	}))
	l.eventually("a canary is created", func() error { return client.IgnoreAlreadyExists(l.Client().Create(l.ctx, canary)) })
	l.eventually("the canary gets an address", func() error {
		var s corev1.Service
		if err := l.Client().Get(l.ctx, client.ObjectKeyFromObject(canary), &s); err != nil {
			return err
		}
		if len(s.Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("it has none: %v", s.Status.Conditions)
		}
		return nil
	})
	l.eventually("the canary is deleted", func() error { return client.IgnoreNotFound(l.Client().Delete(l.ctx, canary)) })
}

// settles waits until everything is as it should be: every Service has an address that no other one has, or says why it has
// none, and just that is announced.
func (l *installation) settles() {
	l.Helper()
	var assigned int
	l.eventually("no address is at two Services, and those that can be are announced", func() error {
		var list corev1.ServiceList
		if err := l.Client().List(l.ctx, &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		wanted, holder := map[announcement]struct{}{}, map[string]string{}
		assigned = 0
		for i := range list.Items {
			s := &list.Items[i]
			if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
				if len(s.Status.LoadBalancer.Ingress) > 0 {
					return fmt.Errorf("%s is no load balancer and shows %v", s.Name, s.Status.LoadBalancer.Ingress)
				}
				continue
			}
			c := meta.FindStatusCondition(s.Status.Conditions, "fairlead.io/Assigned")
			if c == nil {
				return fmt.Errorf("%s is not decided", s.Name)
			}
			for _, in := range s.Status.LoadBalancer.Ingress {
				if other, ok := holder[in.IP]; ok {
					return fmt.Errorf("%s and %s both have %s", s.Name, other, in.IP)
				}
				holder[in.IP] = s.Name
				wanted[announcement{ip: in.IP, service: namespace + "/" + s.Name}] = struct{}{}
				assigned++
			}
			if len(s.Status.LoadBalancer.Ingress) == 0 && !slices.Contains([]string{"PoolExhausted", "AddressInUse"}, c.Reason) {
				return fmt.Errorf("%s waits: %s", s.Name, c.Message)
			}
		}
		got, err := l.announcements()
		if err != nil {
			return err
		}
		for a := range got {
			a.node = ""
			if _, ok := wanted[a]; !ok {
				return fmt.Errorf("%s is announced for %s, which does not have it", a.ip, a.service)
			}
			delete(wanted, a)
		}
		if len(wanted) > 0 {
			return fmt.Errorf("%d of %d addresses are not announced", len(wanted), assigned)
		}
		return nil
	})
	if assigned < addresses/3 {
		l.Errorf("only %d addresses are assigned in the end", assigned)
	}
}

// answered asks the segment for some addresses that are announced: one host answers for each.
func (l *installation) answered(n int) {
	l.Helper()
	got, err := l.announcements()
	l.must(err)
	for a := range got {
		if n--; n < 0 {
			return
		}
		l.eventually("one host answers for "+a.ip, func() error { return l.oneAnswers(a.ip) })
	}
}

func (l *installation) oneAnswers(ip string) error {
	who, err := l.Outside().WhoHas(l.ctx, netip.MustParseAddr(ip), 300*time.Millisecond)
	if err != nil {
		return err
	}
	if len(who) != 1 {
		return fmt.Errorf("%d hosts do: %v", len(who), who)
	}
	return nil
}
