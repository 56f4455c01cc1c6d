package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
)

// title starts a chapter.
func (d *demo) title(text string) { fmt.Fprintf(d.out, "\n== %s\n", text) }

// say prints a line.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// await waits for a condition and gives a sign of life meanwhile.
func (d *demo) await(ctx context.Context, what string, condition func() error) error {
	return cluster.Progress(d.out, what, func() error {
		if err := cluster.Eventually(ctx, patience, condition); err != nil {
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
		return nil
	})
}

// kubectl shows a command as a user types it in the repository, and what it prints.
func (d *demo) kubectl(ctx context.Context, args ...string) error {
	d.say("$ kubectl %s", strings.Join(args, " "))
	root, err := kubebin.ModuleRoot()
	if err != nil {
		return err
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "config/") {
			args[i] = filepath.Join(root, arg)
		}
	}
	out, err := d.c.Kubectl(ctx, "", args...)
	fmt.Fprint(d.out, out)
	return err
}

// outside shows a command that runs on the machine outside, and what it prints.
func (d *demo) outside(ctx context.Context, argv ...string) (string, error) {
	d.say("outside$ %s", strings.Join(argv, " "))
	out, err := d.c.Outside().Run(ctx, argv...)
	fmt.Fprint(d.out, out)
	return out, err
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }
