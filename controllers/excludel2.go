package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-lb/fairlead/speaker/link"
)

// The ConfigMap that names the interfaces which never announce, as MetalLB has it.
const (
	excludeName = "metallb-excludel2"
	excludeKey  = "excludel2.yaml"
)

// ExcludedInterfaces follows the ConfigMap metallb-excludel2, whose patterns replace the default while it is there.
// Configure comes before the manager is made, SetUp after that.
type ExcludedInterfaces struct {
	Log       *slog.Logger
	Namespace string
	Default   []*regexp.Regexp
	Set       func([]*regexp.Regexp) // takes what is excluded now

	client client.Client
	cache  cache.Cache
	upkeep upkeep
	said   string // what was wrong with it last
}

// Configure adds to a manager's options what is watched: the one object.
func (e *ExcludedInterfaces) Configure(o *manager.Options) {
	o.Cache.ByObject[&corev1.ConfigMap{}] = cache.ByObject{Namespaces: map[string]cache.Config{e.Namespace: {FieldSelector: named(excludeName)}}}
}

// SetUp registers the follower with the manager.
func (e *ExcludedInterfaces) SetUp(m ctrl.Manager) error {
	e.client, e.cache, e.upkeep = m.GetClient(), m.GetCache(), newUpkeep()
	return m.Add(e)
}

// NeedLeaderElection says that every node does.
func (*ExcludedInterfaces) NeedLeaderElection() bool { return false }

// Start follows the object until the context ends.
func (e *ExcludedInterfaces) Start(ctx context.Context) error {
	if err := watch(ctx, e.cache, []client.Object{&corev1.ConfigMap{}}, e.upkeep.mark); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	e.upkeep.mark()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.upkeep.dirty:
			e.follow(ctx)
		}
	}
}

// follow reads the object and puts it in force. Of a bad one the last good value stays in force; of a list with bad
// patterns the good ones are.
func (e *ExcludedInterfaces) follow(ctx context.Context) {
	patterns, err := e.read(ctx)
	if patterns != nil {
		e.Set(*patterns)
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != e.said && text != "" {
		e.Log.Warn("the ConfigMap of excluded interfaces is not in force in full", "error", err)
	}
	e.said = text
}

// read returns what is excluded; nil: that is not known.
func (e *ExcludedInterfaces) read(ctx context.Context) (*[]*regexp.Regexp, error) {
	var o corev1.ConfigMap
	err := e.client.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: excludeName}, &o)
	switch {
	case apierrors.IsNotFound(err):
		out := slices.Clone(e.Default)
		return &out, nil
	case err != nil:
		return nil, fmt.Errorf("reading ConfigMap %q: %w", excludeName, err)
	}
	document, ok := o.Data[excludeKey]
	if !ok {
		return nil, fmt.Errorf("ConfigMap %q has no key %q", excludeName, excludeKey)
	}
	patterns, err := link.ParseExcludeConfig(document)
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %q: %w", excludeName, err)
	}
	out, err := link.ParseExclude(patterns)
	return &out, err
}
