// Command fairlead makes type: LoadBalancer work on bare metal: one binary, one subcommand for each role.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil || errors.Is(err, ctx.Err()) {
		return
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintln(os.Stderr, "fairlead:", err)
	}
	os.Exit(exitCode(err))
}

// exitCode is 2 where the command itself was wrong, else 1.
func exitCode(err error) int {
	var wrong usageError
	if errors.As(err, &wrong) {
		return 2
	}
	return 1
}

// pluginName is what kubectl runs for "kubectl fairlead": a link to this program, or a copy of it.
const pluginName = "kubectl-fairlead"

func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "fairlead",
		Short:         "Addresses for Services of type LoadBalancer on bare-metal Kubernetes",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Flags that are not given are taken from the environment.
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return flagsFromEnvironment(c.Flags(), os.LookupEnv) },
	}
	if filepath.Base(os.Args[0]) == pluginName {
		c.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl fairlead"}
	}
	c.AddCommand(controllerCommand(), speakerCommand(), ipvsCommand(), explainCommand(), statusCommand(), diffCommand(), drainCommand(), lintCommand(), configureCommand(), versionCommand())
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), version) },
	}
}
