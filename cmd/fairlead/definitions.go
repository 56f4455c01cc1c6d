package main

import (
	"context"
	"errors"
	"io"
	"net/http"

	"k8s.io/client-go/rest"

	"github.com/fairlead-lb/fairlead/lint"
)

// maxSchemas is how large an API server's schemas of one group may be, in bytes.
const maxSchemas = 16 << 20

// lacking returns the fields of this version's kinds that the cluster's definitions have not. Everybody whom the API server knows
// may read its schemas; where they cannot be read, nothing is told.
func lacking(ctx context.Context, config *rest.Config) (fields []string) {
	linter, err := lint.New()
	if err != nil {
		return nil
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil
	}
	for _, gv := range linter.Groups() {
		document, err := get(ctx, c, server.JoinPath("openapi", "v3", "apis", gv.Group, gv.Version).String())
		if err != nil {
			continue
		}
		more, err := linter.Lacking(gv, document)
		if err == nil {
			fields = append(fields, more...)
		}
	}
	return fields
}

func get(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxSchemas))
}
