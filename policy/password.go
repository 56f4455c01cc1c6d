package policy

import (
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
	"github.com/fairlead-lb/fairlead/internal/verdict"
)

// maxPassword is the longest key of the TCP MD5 signature option that Linux takes, in bytes (TCP_MD5SIG_MAXKEYLEN).
const maxPassword = 80

// SecretKey names a Secret. It is comparable.
type SecretKey struct{ Namespace, Name string }

// String returns namespace/name.
func (k SecretKey) String() string { return k.Namespace + "/" + k.Name }

// Secret is what is read of a Secret that a BGPPeer names.
type Secret struct {
	Type     corev1.SecretType
	Password Password // under the key "password"; "" where there is none
}

// Password is a string that is never printed.
type Password string

// String hides the password.
func (p Password) String() string {
	if p == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides the password.
func (p Password) GoString() string { return p.String() }

// LogValue hides the password.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// SecretOf returns the Secret that the peer names, if it names one. It is looked for in the peer's own namespace,
// whichever the reference says: a speaker reads no others.
func SecretOf(o *v1beta2.BGPPeer) (SecretKey, bool) {
	return SecretKey{o.Namespace, o.Spec.PasswordSecret.Name}, o.Spec.PasswordSecret.Name != ""
}

// password returns the key of the session's TCP MD5 signatures (RFC 2385).
func (c *compiler) password(id Ref, o *v1beta2.BGPPeer, objects *Objects) Password {
	key, isSecret := SecretOf(o)
	plain := Password(o.Spec.Password)
	switch {
	case isSecret && plain != "":
		c.report(id, verdict.InvalidValue, "%s has both spec.password and spec.passwordSecret: remove one of the two", id)
		return ""
	case isSecret:
		return c.secretPassword(id, key, objects)
	case fault(plain) != "":
		c.report(id, verdict.InvalidValue, "%s, spec.password: it %s", id, fault(plain))
		return ""
	}
	return plain
}

func (c *compiler) secretPassword(id Ref, key SecretKey, objects *Objects) Password {
	if objects.SecretsUnread {
		return ""
	}
	s, ok := objects.Secrets[key]
	switch {
	case !ok:
		c.report(id, verdict.UnknownReference, "%s names Secret %q, which does not exist as one of type %q: create it or correct spec.passwordSecret", id, key, corev1.SecretTypeBasicAuth)
	case s.Type != corev1.SecretTypeBasicAuth:
		c.report(id, verdict.UnusableSecret, "%s names Secret %q, which is of type %q: make it of type %q", id, key, s.Type, corev1.SecretTypeBasicAuth)
	case s.Password == "":
		c.report(id, verdict.UnusableSecret, "%s names Secret %q, which has nothing under the key %q: put the password there", id, key, corev1.BasicAuthPasswordKey)
	case fault(s.Password) != "":
		c.report(id, verdict.UnusableSecret, "%s names Secret %q, whose password %s", id, key, fault(s.Password))
	default:
		return s.Password
	}
	return ""
}

// fault returns what is wrong with a password, as the end of a sentence.
func fault(p Password) string {
	switch {
	case len(p) > maxPassword:
		return "is longer than 80 bytes: take a shorter one"
	case strings.ContainsAny(string(p), "\r\n"):
		return "has a line break, at its end perhaps: remove it"
	}
	return ""
}
