package controllers

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-lb/fairlead/speaker/members"
)

// TestTheMembersKeyIsMadeOnce: a controller that starts again leaves the speakers the key that they run with.
func TestTheMembersKeyIsMadeOnce(t *testing.T) {
	c := fakeClient(t).Build()
	if _, err := readMembersKey(t.Context(), c, "metallb-system"); err == nil {
		t.Error("there is a key before there is one")
	}
	var keys [2][]byte
	for i := range keys {
		if err := CreateMembersKey(t.Context(), c, "metallb-system"); err != nil {
			t.Fatal(err)
		}
		var err error
		if keys[i], err = readMembersKey(t.Context(), c, "metallb-system"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(keys[0], keys[1]) || len(keys[0]) != members.KeySize || bytes.Equal(keys[0], make([]byte, members.KeySize)) {
		t.Errorf("the keys are %x and then %x", keys[0], keys[1])
	}
}

func TestAMembersKeyOfAnotherSizeIsRefused(t *testing.T) {
	c := fakeClient(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "metallb-system", Name: membersSecret}, Data: map[string][]byte{membersField: []byte("short")},
	}).Build()
	_, err := readMembersKey(t.Context(), c, "metallb-system")
	if err == nil || !strings.Contains(err.Error(), "holds 5 bytes") || strings.Contains(err.Error(), "short") {
		t.Errorf("it says %v", err)
	}
}
