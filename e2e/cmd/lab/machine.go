package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
	"github.com/fairlead-lb/fairlead/e2e/machine"
)

// exitStatus is the status other than 0 with which the program in a virtual machine ended.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// machineCommand is for `go test -exec "lab machine"`: go calls it with a test binary and its arguments, in the folder of
// the package.
func machineCommand() *cobra.Command {
	o := machine.Options{Files: map[string]string{}}
	controlPlane := false
	cmd := &cobra.Command{
		Use:   "machine PROGRAM [ARGUMENT...]",
		Short: "Run a static program in a virtual machine, with the folder testdata beside it; its exit status is this one's",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Program, o.Args, o.Stdout = args[0], guestArguments(args[1:]), cmd.OutOrStdout()
			if _, err := os.Stat("testdata"); err == nil {
				o.Files["testdata"] = "testdata"
			}
			if controlPlane {
				end, failed := bringUpFor(cmd.Context(), &o)
				if failed != nil {
					return failed
				}
				defer func() { err = errors.Join(err, end()) }()
			}
			status, err := machine.Run(cmd.Context(), o)
			if err == nil && status != 0 {
				err = exitStatus(status)
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringToStringVar(&o.Files, "file", o.Files, "name=path: also put this file or folder beside the program")
	cmd.Flags().IntVar(&o.Memory, "memory", 1024, "memory of the machine in MiB")
	cmd.Flags().IntVar(&o.CPUs, "cpus", 1, "processors of the machine; with more than one its kernel, which rewrites its own code, crashes now and then under emulation")
	cmd.Flags().DurationVar(&o.Limit, "limit", 10*time.Minute, "time after which the machine is ended")
	cmd.Flags().BoolVar(&controlPlane, "control-plane", false,
		"bring up a control plane with Fairlead installed on this machine, and put its kubeconfig, kube-proxy and fairlead beside the program; needs root")
	return cmd
}

// bringUpFor brings up a control plane for nodes that are in a virtual machine, where its programs would take minutes to
// start, and adds what makes nodes of it to the machine's files. end takes the control plane down.
func bringUpFor(ctx context.Context, o *machine.Options) (end func() error, err error) {
	c, err := cluster.Start(ctx, cluster.Options{ControlPlane: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := errors.Join(c.InstallFairlead(ctx), c.InstallProgrammers(ctx)); err != nil {
		return nil, err
	}
	local, err := c.LocalKubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(local)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(c.Dir(), "kubeconfig-machine")
	if err := os.WriteFile(kubeconfig, []byte(strings.ReplaceAll(string(text), "127.0.0.1", machine.Loopback)), 0o600); err != nil {
		return nil, err
	}
	bins, err := kubebin.Find()
	if err != nil {
		return nil, err
	}
	fairlead, err := c.Fairlead()
	if err != nil {
		return nil, err
	}
	o.Loopback = true
	o.Files["kubeconfig"], o.Files[kubebin.Proxy], o.Files["fairlead"] = kubeconfig, bins.Path(kubebin.Proxy), fairlead
	return c.Close, nil
}

// guestArguments leaves out the arguments of a test binary that name files of this machine.
func guestArguments(args []string) (out []string) {
	for _, a := range args {
		if !strings.HasPrefix(a, "-test.testlogfile=") && !strings.HasPrefix(a, "-test.gocoverdir=") {
			out = append(out, a)
		}
	}
	return out
}
