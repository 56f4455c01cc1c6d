package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/explain"
)

func statusCommand() *cobra.Command {
	var a asking
	var watch, check bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster at a glance: pools, Services that wait and why, nodes, BGP sessions, problems",
		Long: `Show the cluster at a glance: pools, Services that wait and why, nodes, BGP sessions, problems. It reads with your own
rights, and changes nothing.

Exit code 0: it is shown; 1: it is not, or not everything could be read, or with --check something is wrong; 2: the command
itself was wrong.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.wantsOutput(); err != nil {
				return err
			}
			if watch && check {
				return usageError{errors.New("--check tells by the exit code, and --watch never ends: give one of them")}
			}
			show := func() error {
				v, err := a.view(cmd.Context(), allocator.Key{})
				if err != nil {
					return err
				}
				s := explain.OfCluster(v)
				if watch {
					clearScreen(cmd.OutOrStdout())
				}
				switch err := a.write(cmd.OutOrStdout(), &s); {
				case err != nil || watch:
					return err
				case len(s.Gaps) > 0, check && !s.Well(): // it is not the whole truth, or not what it should be
					return errTold
				}
				return nil
			}
			if !watch {
				return show()
			}
			return repeat(cmd.Context(), cmd.ErrOrStderr(), every, show)
		},
	}
	a.register(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again, until Ctrl-C")
	cmd.Flags().BoolVar(&check, "check", false, "fail where something is wrong: a problem, a Service without an address or that nobody announces, a BGP session that is down, no speaker")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often, with --watch")
	return cmd
}

// repeat shows again and again until the context ends; what fails is told and tried again.
func repeat(ctx context.Context, stderr io.Writer, every time.Duration, show func() error) error {
	if every < 100*time.Millisecond {
		return usageError{errors.New("--every: want at least 100ms")}
	}
	for {
		if err := show(); err != nil && ctx.Err() == nil {
			fmt.Fprintln(stderr, "fairlead:", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// clearScreen makes room on a terminal; elsewhere a line parts one state from the next.
func clearScreen(w io.Writer) {
	if colours(w, func(string) (string, bool) { return "", false }) {
		fmt.Fprint(w, "\x1b[H\x1b[2J")
		return
	}
	if _, ok := w.(*os.File); ok {
		fmt.Fprintln(w, "---", time.Now().Format(time.RFC3339))
	}
}
