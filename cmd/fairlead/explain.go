package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/explain"
	"github.com/fairlead-lb/fairlead/internal/nearest"
)

// subjects are what can be explained, with their other names.
const subjects = "svc, ip, pool, node or peer"

func explainCommand() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use:   "explain svc NAMESPACE/NAME | ip ADDRESS | pool NAME | node NAME | peer NAME",
		Short: "Say why a Service works or does not: the whole chain from it to the wire",
		Long: `Say why a Service works or does not: the whole chain from it to the wire, each step yes or no with its reason,
the one sentence that matters, and the next command to run. It reads with your own rights, and changes nothing.

Exit code 0: all is well; 1: something is not; 2: the command itself was wrong.`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.wantsOutput(); err != nil {
				return err
			}
			if len(args) == 1 {
				kind, name, ok := strings.Cut(args[0], "/")
				if !ok {
					return usageError{fmt.Errorf("explain what? Give the name of a %s", args[0])}
				}
				args = []string{kind, name}
			}
			q, err := a.question(args[0], args[1])
			if err != nil {
				return err
			}
			v, err := a.view(cmd.Context(), q.service)
			if err != nil {
				return err
			}
			e, err := q.ask(v)
			if err != nil {
				return err
			}
			if err := a.write(cmd.OutOrStdout(), &e); err != nil {
				return err
			}
			if !e.OK {
				return errTold
			}
			return nil
		},
	}
	a.register(cmd)
	return cmd
}

// question is what is asked about.
type question struct {
	service allocator.Key // if it is about one
	ask     func(*explain.View) (explain.Explanation, error)
}

// question reads the arguments.
func (a *asking) question(kind, name string) (question, error) {
	switch strings.ToLower(kind) {
	case "svc", "service", "services":
		namespace, short, ok := strings.Cut(name, "/")
		if !ok {
			short = name
			var err error
			if namespace, _, err = a.loader().Namespace(); err != nil {
				return question{}, fmt.Errorf("reading the kubeconfig: %w", err)
			}
		}
		for _, x := range []string{namespace, short} {
			if len(validation.IsDNS1123Label(x)) > 0 {
				return question{}, usageError{fmt.Errorf("%q is no name of a Service or a namespace: want lower-case letters, digits and dashes", x)}
			}
		}
		key := allocator.Key{Namespace: namespace, Name: short}
		return question{key, func(v *explain.View) (explain.Explanation, error) { return explain.OfService(v, key) }}, nil
	case "ip", "address", "addr":
		addr, err := netip.ParseAddr(name)
		if err != nil || addr.Zone() != "" {
			return question{}, usageError{fmt.Errorf("%q is not an IP address", name)}
		}
		return question{ask: func(v *explain.View) (explain.Explanation, error) { return explain.OfAddress(v, addr.Unmap()), nil }}, nil
	case "pool", "ipaddresspool", "ipaddresspools":
		return question{ask: func(v *explain.View) (explain.Explanation, error) { return explain.OfPool(v, name) }}, nil
	case "node", "nodes":
		return question{ask: func(v *explain.View) (explain.Explanation, error) { return explain.OfNode(v, name) }}, nil
	case "peer", "bgppeer", "bgppeers":
		return question{ask: func(v *explain.View) (explain.Explanation, error) { return explain.OfPeer(v, name) }}, nil
	}
	return question{}, usageError{errors.New("explain " + subjects + ", not " + kind + nearest.Ask(kind, []string{"svc", "service", "ip", "address", "pool", "node", "peer"}))}
}
