//go:build linux && (netns || bench || soak)

package layer2

import (
	"encoding/json"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// flood is what the flooding process does: it is another one, so that the time that it takes is not the speaker's.
type flood struct {
	Device     string
	First      netip.Addr // the addresses that are asked for: Addresses of them
	Addresses  int
	Rate       int
	For        time.Duration
	Sent       int // the result: frames sent, answers received, and time of the processor
	Answered   int64
	CPUSeconds float64
}

// run floods and counts the answers until none came for a second.
func (f *flood) run() error {
	device, err := net.InterfaceByName(f.Device)
	if err != nil {
		return err
	}
	c, err := listen(linkOfInterface(device), familyARP, nil)
	if err != nil {
		return err
	}
	var answered, last atomic.Int64
	go func() {
		for batch := newBatch(batchSize); ; {
			n, err := c.ReadBatch(batch)
			if err != nil {
				return
			}
			for i := range batch[:n] {
				if b := batch[i].frame(); len(b) > 21 && b[21] == 2 && macAddr(b[:6]) == hostMAC {
					answered.Add(1)
				}
			}
			last.Store(int64(bootTime()))
		}
	}()
	var questions [][]byte
	for a, i := f.First, 0; i < f.Addresses; a, i = a.Next(), i+1 {
		questions = append(questions, arpRequest(host4, a))
	}
	begin := time.Now()
	for next := 0; time.Since(begin) < f.For; {
		due := int(time.Since(begin).Seconds() * float64(f.Rate))
		for f.Sent < due {
			n := min(batchSize, due-f.Sent, len(questions)-next)
			if _, err := c.WriteBatch(questions[next : next+n]); err != nil {
				return err
			}
			f.Sent, next = f.Sent+n, (next+n)%len(questions)
		}
		time.Sleep(500 * time.Microsecond)
	}
	for last.Store(int64(bootTime())); int64(bootTime())-last.Load() < int64(time.Second); {
		time.Sleep(10 * time.Millisecond)
	}
	f.Answered, f.CPUSeconds = answered.Load(), cpuSeconds()
	return nil
}

// cpuSeconds is the time of the processor that this process took.
func cpuSeconds() float64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails for unknown arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// start runs the flood in another process in the client's namespace and returns its result.
func (f flood) start(w *world) flood {
	c := newChild(w.t, w.client, "flood", f)
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}
