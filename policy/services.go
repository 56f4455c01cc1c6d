package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-lb/fairlead/api/v1alpha1"
)

// Services describes Services by namespace and labels, as a ServiceSelector does. The zero value is for none.
type Services struct {
	names          []string
	labelled       labels.Selector // namespaces whose labels match
	everyNamespace bool
	services       labels.Selector
}

// Match says whether the Service is one of those described.
func (s *Services) Match(namespace string, namespaceLabels, serviceLabels labels.Set) bool {
	return s.services != nil && s.services.Matches(serviceLabels) &&
		(s.everyNamespace || slices.Contains(s.names, namespace) || s.labelled.Matches(namespaceLabels))
}

// services compiles the description that stands in a field.
func (c *compiler) services(id Ref, field string, in *v1alpha1.ServiceSelector) Services {
	s := Services{
		names:          slices.Clone(in.Namespaces),
		labelled:       c.optionalSelector(id, field+".namespaceSelector", in.NamespaceSelector),
		everyNamespace: len(in.Namespaces) == 0 && in.NamespaceSelector == nil,
		services:       labels.Everything(),
	}
	if in.Labels != nil {
		s.services, _ = c.selector(id, field+".labels", in.Labels)
	}
	return s
}
