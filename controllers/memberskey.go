package controllers

import (
	"context"
	"crypto/rand"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-lb/fairlead/speaker/members"
)

const (
	membersSecret = "fairlead-members" // the Secret with the speakers' common key
	membersField  = "key"              // the field that holds it, members.KeySize bytes
)

// CreateMembersKey makes the speakers' common key where there is none yet; one that exists is never changed.
func CreateMembersKey(ctx context.Context, c client.Client, namespace string) error {
	key := make([]byte, members.KeySize)
	_, _ = rand.Read(key) // never fails: see crypto/rand
	err := c.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: membersSecret},
		Data:       map[string][]byte{membersField: key},
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating Secret %s/%s with the speakers' common key: %w", namespace, membersSecret, err)
	}
	return nil
}

func readMembersKey(ctx context.Context, c client.Reader, namespace string) ([]byte, error) {
	var s corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: membersSecret}, &s); err != nil {
		return nil, fmt.Errorf("reading Secret %s/%s, which the controller creates: %w", namespace, membersSecret, err)
	}
	if n := len(s.Data[membersField]); n != members.KeySize {
		return nil, fmt.Errorf("the Secret %s/%s holds %d bytes in %q, but %d are needed: delete it and restart the controller", namespace, membersSecret, n, membersField, members.KeySize)
	}
	return s.Data[membersField], nil
}
