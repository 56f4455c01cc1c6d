//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine describes where the figures come from.
func machine() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d cores, Linux %s, %s", runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]), runtime.Version())
}

// busy is how much processor time was used up to a moment: by all of the machine, and of that by this process and the
// programs that it started, the whole cluster.
type busy struct {
	at         time.Time
	total, own time.Duration
}

// readBusy reads /proc; what cannot be read counts as nothing.
func readBusy() busy {
	out := busy{at: time.Now()}
	if stat, err := os.ReadFile("/proc/stat"); err == nil {
		// proc(5): cpu user nice system idle ...
		line, _, _ := strings.Cut(string(stat), "\n")
		out.total = ticks(strings.Fields(line)[1:4])
	}
	self := strconv.Itoa(os.Getpid())
	processes, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range processes {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// proc(5): behind the name in parentheses come the fields 3 and up: 4 is the parent, 14 and 15 are a process's
		// own times, 16 and 17 those of its children that have ended.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if fields[4-3] == self || path == "/proc/"+self+"/stat" {
			out.own += ticks(fields[14-3 : 17-3+1])
		}
	}
	return out
}

// ticks sums times in 1/100 s.
func ticks(fields []string) time.Duration {
	var sum int64
	for _, f := range fields {
		n, _ := strconv.ParseInt(f, 10, 64) // the kernel writes numbers
		sum += n
	}
	return time.Duration(sum) * 10 * time.Millisecond
}

// foreignSince says how busy other processes than the cluster and the benchmark kept the machine.
func (b busy) foreignSince(begin busy) string {
	foreign := (b.total - begin.total) - (b.own - begin.own)
	return fmt.Sprintf("%.2f of %d cores", max(0, foreign.Seconds()/b.at.Sub(begin.at).Seconds()), runtime.NumCPU())
}
