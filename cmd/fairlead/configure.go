package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/lint"
)

func configureCommand() *cobra.Command {
	c := common{qps: 50, burst: 50, logFormat: "text", logLevel: "info"}
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "configure FILE|FOLDER|- ...",
		Short: "Make the configuration objects of a cluster those of the manifests, as soon as the webhooks answer; the chart runs it",
		Long: `Make the configuration objects of a cluster those of the manifests: pools, advertisements, peers, BFD profiles and
communities. It waits until the API server knows the kinds and the webhooks answer, and says what was refused. What an
earlier run has made and what is not among the manifests any more is deleted; what others have made is left alone.

Exit code 0: it is so; 1: something was refused, or there was no answer in time; 2: the command itself was wrong.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			objects, err := configuration(cmd, args, c.namespace)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return c.configure(ctx, cmd.OutOrStdout(), objects)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.Flags().StringVar(&c.kubeconfig, "kubeconfig", "", "`file` that says how to reach the API server; in a pod's own cluster it is not needed")
	cmd.Flags().StringVar(&c.namespace, "namespace", defaultNamespace, "namespace of Fairlead and of its configuration")
	cmd.Flags().DurationVar(&timeout, "timeout", 4*time.Minute, "how long to wait for the API server and the webhooks")
	return cmd
}

// configure brings the objects into the cluster.
func (c *common) configure(ctx context.Context, out io.Writer, objects []*unstructured.Unstructured) error {
	log, err := c.logger(out)
	if err != nil {
		return err
	}
	a, err := c.client()
	if err != nil {
		return err
	}
	return (&controllers.Configuring{Client: a, Log: log, Namespace: c.namespace, Every: time.Second}).Run(ctx, objects)
}

// configuration reads manifests that have no errors.
func configuration(cmd *cobra.Command, args []string, namespace string) ([]*unstructured.Unstructured, error) {
	files, err := manifests(cmd.InOrStdin(), args)
	if err != nil {
		return nil, usageError{err}
	}
	linter, err := lint.New()
	if err != nil {
		return nil, err
	}
	report := linter.Check(files, namespace)
	for _, f := range report.Findings {
		fmt.Fprintln(cmd.ErrOrStderr(), f)
	}
	if report.Count(lint.Error) > 0 {
		return nil, errTold
	}
	var out []*unstructured.Unstructured
	for _, f := range files {
		documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(f.Data), 4096)
		for {
			o := &unstructured.Unstructured{}
			err := documents.Decode(&o.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", f.Name, err)
			}
			if len(o.Object) > 0 {
				out = append(out, o)
			}
		}
	}
	return out, nil
}
