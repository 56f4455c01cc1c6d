package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-lb/fairlead/lint"
)

func lintCommand() *cobra.Command {
	var namespace, output string
	var nodePorts serviceNodePorts
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint FILE|FOLDER|- ...",
		Short: "Check manifests without a cluster, by the code of the admission webhooks",
		Long: `Check manifests without a cluster, by the code of the admission webhooks.

All manifests are checked together, as if they were applied at once. FOLDER stands for the .yaml, .yml and .json files
in and below it, - for standard input:  helm template . | fairlead lint -

Exit code 0: no errors; 1: errors, or with --strict warnings; 2: the command itself was wrong.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output %q: want text or json", output)}
			}
			linter, err := nodePorts.linter()
			if err != nil {
				return err
			}
			files, err := manifests(cmd.InOrStdin(), args)
			if err != nil {
				return usageError{err}
			}
			report := linter.Check(files, namespace)
			if err := printReport(cmd.OutOrStdout(), cmd.ErrOrStderr(), report, output); err != nil {
				return err
			}
			if report.Count(lint.Error) > 0 || strict && report.Count(lint.Warning) > 0 {
				return errTold
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.Flags().StringVar(&namespace, "namespace", defaultNamespace, "namespace that Fairlead reads its configuration from")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	nodePorts.register(cmd.Flags())
	cmd.Flags().BoolVar(&strict, "strict", false, "fail for warnings too")
	return cmd
}

// printReport writes the findings, and as text a last line that sums them up.
func printReport(out, summary io.Writer, r lint.Report, format string) error {
	if format == "json" {
		if r.Findings == nil {
			r.Findings = []lint.Finding{}
		}
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(out, f); err != nil {
			return err
		}
	}
	if r.Checked == 0 {
		_, err := fmt.Fprintf(summary, "nothing to check: none of %s is of MetalLB's or Fairlead's kinds\n", counted(r.Documents, "document"))
		return err
	}
	_, err := fmt.Fprintf(summary, "checked %s: %s, %s\n", counted(r.Checked, "object"), counted(r.Count(lint.Error), "error"), counted(r.Count(lint.Warning), "warning"))
	return err
}

// counted writes a number of things.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// manifests reads the files that the arguments stand for.
func manifests(stdin io.Reader, args []string) ([]lint.File, error) {
	var out []lint.File
	for _, arg := range args {
		if arg == "-" {
			data, err := io.ReadAll(stdin)
			if err != nil {
				return nil, fmt.Errorf("reading standard input: %w", err)
			}
			out = append(out, lint.File{Name: "-", Data: data})
			continue
		}
		files, err := manifestFiles(arg)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			out = append(out, lint.File{Name: name, Data: data})
		}
	}
	return out, nil
}

// manifestFiles returns the file, or the manifests in and below the folder, sorted.
func manifestFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	var out []string
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "Chart.yaml":
			return fmt.Errorf("%s is a Helm chart: render it first: helm template %s | fairlead lint -", filepath.Dir(name), filepath.Dir(name))
		case !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(name))):
			out = append(out, name)
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("there is no .yaml, .yml or .json file in %s", path)
	}
	return out, err
}

// errTold ends a command with exit code 1 without a word: what is wrong was told.
var errTold = errors.New("what is wrong was told")

// usageError is what is wrong with the command itself: exit code 2.
type usageError struct{ error }

// Unwrap returns what is wrong.
func (e usageError) Unwrap() error { return e.error }

// usage makes a wrong number of arguments a usageError.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}
