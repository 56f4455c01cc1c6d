package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/lint"
)

func diffCommand() *cobra.Command {
	var a asking
	var nodePorts serviceNodePorts
	cmd := &cobra.Command{
		Use:   "diff FILE|FOLDER|- ...",
		Short: "Say what would change in a cluster if manifests were applied: which Services get, move or lose addresses",
		Long: `Say what would change in a cluster if manifests were applied: which Services would get, move or lose which address, who
would announce it, which pools would change, and what would be wrong. It reads with your own rights, and changes nothing.

Exit code 0: nothing would change; 1: something would; 2: it cannot be said, or not for certain.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.wantsOutput(); err != nil {
				return err
			}
			linter, err := nodePorts.linter()
			if err != nil {
				return err
			}
			wanted, err := a.checked(cmd, linter, args)
			if err != nil {
				return usageError{err}
			}
			now, err := a.view(cmd.Context(), allocator.Key{})
			if err != nil {
				return usageError{err}
			}
			d := explain.Compare(now, controllers.Applied(now, wanted))
			switch err := a.write(cmd.OutOrStdout(), &d); {
			case err != nil:
				return usageError{err}
			case len(d.Gaps) > 0:
				return usageError{errTold}
			case !d.Same():
				return errTold
			}
			return nil
		},
	}
	a.register(cmd)
	nodePorts.register(cmd.Flags())
	return cmd
}

// checked reads manifests that have no errors.
func (a *asking) checked(cmd *cobra.Command, linter *lint.Linter, args []string) (lint.Manifests, error) {
	files, err := manifests(cmd.InOrStdin(), args)
	if err != nil {
		return lint.Manifests{}, err
	}
	report, wanted := linter.Read(files, a.namespace)
	for _, f := range report.Findings {
		if f.Severity == lint.Error {
			fmt.Fprintln(cmd.ErrOrStderr(), f)
		}
	}
	if n := report.Count(lint.Error); n > 0 {
		return wanted, fmt.Errorf("the manifests have %s: correct what is said above, then ask again", counted(n, "error"))
	}
	if report.Checked == 0 {
		return wanted, errors.New("there is nothing to compare: none of the manifests is of MetalLB's or Fairlead's kinds, or a Service")
	}
	return wanted, nil
}
