package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-lb/fairlead/e2e/machine"
)

// exitStatus is the status other than 0 with which the program in a virtual machine ended.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// machineCommand is for `go test -exec "lab machine"`: go calls it with a test binary and its arguments, in the folder of
// the package.
func machineCommand() *cobra.Command {
	o := machine.Options{Files: map[string]string{}}
	cmd := &cobra.Command{
		Use:   "machine PROGRAM [ARGUMENT...]",
		Short: "Run a static program in a virtual machine, with the folder testdata beside it; its exit status is this one's",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Program, o.Args, o.Stdout = args[0], guestArguments(args[1:]), cmd.OutOrStdout()
			if _, err := os.Stat("testdata"); err == nil {
				o.Files["testdata"] = "testdata"
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
	cmd.Flags().IntVar(&o.CPUs, "cpus", 1, "processors of the machine")
	return cmd
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
