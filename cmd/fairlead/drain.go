package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/explain"
)

func drainCommand() *cobra.Command {
	var a asking
	var dry bool
	cmd := &cobra.Command{
		Use:   "drain NODE --dry-run",
		Short: "Say what moves where when a node is drained and its speaker ends",
		Long: `Say what moves where when a node is drained and its speaker ends: addresses by layer 2, BGP sessions and routes. It reads
with your own rights, and changes nothing: kubectl drain does that.

Exit code 0: everything has somewhere to go; 1: something has not; 2: the command itself was wrong.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.wantsOutput(); err != nil {
				return err
			}
			if !dry {
				return usageError{errors.New("fairlead only says what would happen: give --dry-run; to drain the node, kubectl drain " + args[0])}
			}
			v, err := a.view(cmd.Context(), allocator.Key{})
			if err != nil {
				return err
			}
			d, err := explain.OfDrain(v, args[0])
			if err != nil {
				return err
			}
			if err := a.write(cmd.OutOrStdout(), &d); err != nil || d.OK() {
				return err
			}
			return errTold
		},
	}
	a.register(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would happen; there is no other way")
	return cmd
}
