package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A rank orders the end of processes: Close stops the highest first.
type rank int

const (
	rankStore   rank = iota // etcd
	rankAPI                 // kube-apiserver
	rankRuntime             // containerd
	rankKube                // what else belongs to Kubernetes
	rankGuest               // what the caller starts
	ranks
)

// A Process is a program that runs inside a host's namespace until it is stopped or the cluster closes.
type Process struct {
	Name string
	Host *Host
	Log  string // path of the file with all it prints

	cmd      *exec.Cmd
	rank     rank
	done     chan struct{}
	err      error // of Wait, once done is closed
	expected atomic.Bool
}

// StartProcess starts a program inside a host's namespace, in a process group of its own, with env (KEY=value) added to
// this process's environment. What it prints goes to the file logs/NAME.log of the cluster's folder, behind what an
// earlier process of that name printed. The program outlives ctx; Stop, Kill or Close end it.
func (c *Cluster) StartProcess(ctx context.Context, host *Host, name string, argv []string, env ...string) (*Process, error) {
	return c.start(ctx, rankGuest, host, name, argv, env)
}

func (c *Cluster) start(ctx context.Context, rank rank, host *Host, name string, argv, env []string) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &Process{Name: name, Host: host, Log: filepath.Join(c.dir, "logs", name+".log"), rank: rank, done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = host.Command(context.WithoutCancel(ctx), argv...)
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Dir = c.dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C at the terminal is the harness's alone

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("starting " + name + ": the cluster is closed")
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	c.processes = append(c.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		if !p.expected.Load() {
			c.log.line("%s on %s ended by itself: %v; its last lines:\n%s", name, host.Name, p.cmd.ProcessState, p.Tail(5))
		}
		close(p.done)
	}()
	return p, nil
}

// PID is the process's number; nsenter has become the program itself.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running says whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the process's end and returns what exec.Cmd.Wait did: nil for exit status 0.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the process's group.
func (p *Process) Signal(sig unix.Signal) error {
	if !p.Running() {
		return fmt.Errorf("%s: %w", p.Name, os.ErrProcessDone)
	}
	return unix.Kill(-p.PID(), sig)
}

// Stop sends SIGTERM, waits for the end and returns how long that took. A process that is still there when ctx ends is
// killed, which is an error; so is an exit status other than 0, though one may only report the signal.
func (p *Process) Stop(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	p.expected.Store(true)
	if err := p.Signal(unix.SIGTERM); err != nil && p.Running() {
		return 0, fmt.Errorf("stopping %s: %w", p.Name, err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			return time.Since(start), fmt.Errorf("stopping %s: %w", p.Name, p.err)
		}
		return time.Since(start), nil
	case <-ctx.Done():
		return time.Since(start), errors.Join(fmt.Errorf("%s did not end on SIGTERM: %w", p.Name, ctx.Err()), p.Kill())
	}
}

// Kill sends SIGKILL and waits for the end, which is no error, nor is a process that has ended before.
func (p *Process) Kill() error {
	p.expected.Store(true)
	if err := p.Signal(unix.SIGKILL); err != nil && p.Running() {
		return fmt.Errorf("killing %s: %w", p.Name, err)
	}
	<-p.done
	return nil
}

// Tail is the end of what the process printed, at most that many lines.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Usage is what a process has used.
type Usage struct {
	Resident int64         // bytes in memory now
	CPU      time.Duration // user and system time since its start
}

// Usage reads /proc; the CPU time comes in steps of 10 ms.
func (p *Process) Usage() (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %s: %w", p.Name, err)
	}
	// proc(5): the second field is a name in parentheses; 14 and 15 are times in 1/100 s, 24 the resident pages.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 22 {
		return Usage{}, fmt.Errorf("usage of %s: %q", p.Name, stat)
	}
	number := func(field int) int64 {
		n, e := strconv.ParseInt(fields[field-3], 10, 64)
		err = errors.Join(err, e)
		return n
	}
	usage := Usage{
		Resident: number(24) * int64(os.Getpagesize()),
		CPU:      time.Duration(number(14)+number(15)) * 10 * time.Millisecond,
	}
	return usage, err
}

// Memory reads a number of bytes that proc(5) names of the process, such as VmHWM, the most that was ever resident.
func (p *Process) Memory(name string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.Name, err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("memory of %s: /proc names no %s", p.Name, name)
}

// What does not end on SIGTERM within its grace is killed by Close: an error for what the caller started, none for
// Kubernetes' own, which may wait for connections that nobody ends any more.
const (
	guestGrace = 5 * time.Second
	kubeGrace  = 2 * time.Second
)

// stopProcesses ends every process, rank by rank; those of one rank at the same time.
func stopProcesses(processes []*Process) error {
	var errs []error
	for r := ranks - 1; r >= 0; r-- {
		grace := kubeGrace
		if r == rankGuest {
			grace = guestGrace
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, p := range processes {
			if p.rank != r || !p.Running() {
				continue
			}
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), grace)
				defer cancel()
				_, err := p.Stop(ctx)
				if ctx.Err() != nil && r == rankGuest {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
		wg.Wait()
	}
	return errors.Join(errs...)
}
