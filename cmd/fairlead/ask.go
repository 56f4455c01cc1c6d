package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-lb/fairlead/allocator"
	"github.com/fairlead-lb/fairlead/controllers"
	"github.com/fairlead-lb/fairlead/explain"
)

// asking are the flags of the commands that a person asks a cluster with.
type asking struct {
	kubeconfig, context string
	namespace, class    string
	output              string
	timeout             time.Duration
}

// pageSize is how many objects the API server is asked for at once.
const pageSize = 2000

func (a *asking) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.kubeconfig, "kubeconfig", "", "`file` that says how to reach the cluster; else that of $KUBECONFIG or ~/.kube/config")
	f.StringVar(&a.context, "context", "", "the kubeconfig's context to use; else its current one")
	f.StringVar(&a.namespace, "namespace", defaultNamespace, "namespace of Fairlead and of its configuration")
	f.StringVar(&a.class, "lb-class", "", "the --lb-class of the controller, if it has one")
	f.StringVarP(&a.output, "output", "o", "text", "text, json or yaml")
	f.DurationVar(&a.timeout, "timeout", 20*time.Second, "how long the API server may take to answer")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
}

// loader reads the kubeconfig as kubectl does.
func (a *asking) loader() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: a.context})
}

// view reads what explanations go by; the Service is the one that is asked about, if it is one.
func (a *asking) view(ctx context.Context, service allocator.Key) (*explain.View, error) {
	config, err := a.loader().ClientConfig()
	if err != nil {
		if clientcmd.IsEmptyConfig(err) {
			return nil, errors.New("no cluster to ask: there is no kubeconfig; give --kubeconfig or set KUBECONFIG")
		}
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS, config.Burst, config.Timeout = 1000, 1000, a.timeout
	config.UserAgent = "fairlead/" + version
	c, err := controllers.NewAsker(config)
	if err != nil {
		return nil, err
	}
	return a.observe(ctx, config, c, service)
}

func (a *asking) observe(ctx context.Context, config *rest.Config, c client.Reader, service allocator.Key) (*explain.View, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	older := make(chan []string, 1)
	go func() { older <- lacking(ctx, config) }()
	v, err := controllers.Observation{Client: c, Namespace: a.namespace, Class: a.class, Version: version, PageSize: pageSize, Service: service, Now: time.Now()}.Read(ctx)
	if err != nil {
		cancel()
	}
	fields := <-older // nothing of a question runs on when it has been answered
	if err != nil {
		return nil, unreachable(config.Host, err)
	}
	v.Lacking = fields
	return v, v.Installed()
}

// unreachable words errors that are about the way to the API server in one sentence that says what to do.
func unreachable(host string, err error) error {
	var wrong *url.Error
	var network net.Error
	switch {
	case err == nil:
		return nil
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server at %s does not know you: log in again, or choose another --context", host)
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("the API server at %s does not answer in time: see whether the cluster runs, or give a longer --timeout", host)
	case errors.As(err, &wrong):
		return fmt.Errorf("the API server at %s cannot be reached: see whether the cluster runs, and whether the kubeconfig is that of the right one: %w", host, wrong.Err)
	}
	return err
}

// wantsOutput checks --output.
func (a *asking) wantsOutput() error {
	switch a.output {
	case "text", "json", "yaml":
		return nil
	}
	return usageError{fmt.Errorf("--output %q: want text, json or yaml", a.output)}
}

// answer is what can be written for people and for programs.
type answer interface {
	Write(io.Writer, explain.Style) error
}

// write writes an answer as --output asks for.
func (a *asking) write(w io.Writer, x answer) error {
	switch a.output {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(x)
	case "yaml":
		data, err := yaml.Marshal(x)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}
	return x.Write(w, explain.Style{Colours: colours(w, os.LookupEnv)})
}

// colours says whether what is written to may have colours: a terminal may, unless the environment has NO_COLOR.
func colours(w io.Writer, lookup func(string) (string, bool)) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	if _, no := lookup("NO_COLOR"); no {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
