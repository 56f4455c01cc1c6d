// Command lab prepares and shows the cluster in network namespaces that Fairlead's tests run on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-lb/fairlead/e2e/cluster"
	"github.com/fairlead-lb/fairlead/e2e/debian"
	"github.com/fairlead-lb/fairlead/e2e/kubebin"
	"github.com/fairlead-lb/fairlead/e2e/machine"
)

// interrupted is the exit status of a program that ended on Ctrl-C.
const interrupted = 130

func main() {
	ctrllog.SetLogger(logr.Discard()) // what goes wrong comes back as an error
	klog.SetLogger(logr.Discard())
	// Kept until the end: a second Ctrl-C must not leave half a cluster behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	err := command().ExecuteContext(ctx)
	var ended exitStatus
	switch {
	case err == nil:
	case errors.As(err, &ended):
		os.Exit(int(ended))
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "Interrupted; what was built is kept, nothing else is left.")
		os.Exit(interrupted)
	default:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "A Kubernetes cluster in network namespaces on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		binariesCommand(),
		&cobra.Command{
			Use:   "artifacts",
			Short: "Build the images and the chart that the cluster with kubelets runs; run it as yourself",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return cluster.BuildArtifacts(cmd.Context()) },
		},
		&cobra.Command{
			Use:   "assets",
			Short: "Print the folder of etcd and kube-apiserver, as KUBEBUILDER_ASSETS names it",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				bins, err := kubebin.Find()
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), filepath.Dir(bins.Path("kube-apiserver")))
				}
				return err
			},
		},
		demoCommand(),
		machineCommand(),
		&cobra.Command{
			Use:   "clean",
			Short: "Remove what a killed demo or test left behind (the next one does so too); needs root",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return cluster.Sweep(cmd.OutOrStdout()) },
		},
	)
	return root
}

func demoCommand() *cobra.Command {
	var keep, kubelets bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a Service of type LoadBalancer getting an address that survives the death of a node; needs root",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{out: cmd.OutOrStdout(), keep: keep}
			if kubelets {
				return d.runKubelets(cmd.Context())
			}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the cluster running at the end, until Ctrl-C")
	cmd.Flags().BoolVar(&kubelets, "kubelets", false, "on real nodes, with the chart as a user installs it; needs make e2e-artifacts")
	cmd.MarkFlagsMutuallyExclusive("keep", "kubelets")
	return cmd
}

func binariesCommand() *cobra.Command {
	var kubelets bool
	cmd := &cobra.Command{
		Use:   "binaries",
		Short: "Install the Debian packages and build the Kubernetes binaries that are missing; run it as yourself",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return binaries(cmd.Context(), cmd.OutOrStdout(), kubelets)
		},
	}
	cmd.Flags().BoolVar(&kubelets, "kubelets", false, "those of the cluster with kubelets too")
	return cmd
}

// binaries does the set-up of a fresh machine.
func binaries(ctx context.Context, out io.Writer, kubelets bool) error {
	if err := debian.Install(ctx, out); err != nil {
		return err
	}
	if err := machine.Prepare(ctx, out); err != nil {
		return err
	}
	bins, err := kubebin.Find()
	if err != nil {
		return err
	}
	bins.Kubelets = kubelets
	return bins.Build(ctx, out)
}
