package metallb_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/fairlead-lb/fairlead/api/metallb/v1beta1"
	"github.com/fairlead-lb/fairlead/api/metallb/v1beta2"
)

// TestBGPPeerConversionLosesNothing fills every field that there is, in whatever combination, so that a field that is
// added to one version only fails here.
func TestBGPPeerConversionLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var two, back v1beta2.BGPPeer
		fill(t, reflect.ValueOf(&two.Spec).Elem())
		two.Name, two.Annotations = "peer", map[string]string{"a": "b"}
		var one v1beta1.BGPPeer
		if err := one.FromV1beta2(&two); err != nil {
			t.Fatal(err)
		}
		one.ToV1beta2(&back)
		if diff := cmp.Diff(two, back, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("v1beta2 to v1beta1 and back:\n%s", diff)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var one, back v1beta1.BGPPeer
		fill(t, reflect.ValueOf(&one.Spec).Elem())
		for _, s := range one.Spec.NodeSelectors {
			for i := range s.MatchExpressions {
				s.MatchExpressions[i].Values = append(s.MatchExpressions[i].Values, "at least one")
			}
		}
		one.Name = "peer"
		var two v1beta2.BGPPeer
		one.ToV1beta2(&two)
		if err := back.FromV1beta2(&two); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one, back, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("v1beta1 to v1beta2 and back:\n%s", diff)
		}
	})
}

// fill draws a value for everything below v.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 2).Draw(t, "length"), 2))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		if rapid.Bool().Draw(t, "label") {
			v.Set(reflect.ValueOf(map[string]string{"key": rapid.StringN(0, 3, -1).Draw(t, "value")}))
		}
	case reflect.String:
		v.SetString(rapid.StringN(0, 3, -1).Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "duration"))
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(rapid.Uint16().Draw(t, "number")))
	default:
		t.Fatalf("fill does not know %s", v.Type())
	}
}

func TestBGPPeerConversion(t *testing.T) {
	two := v1beta2.BGPPeer{Spec: v1beta2.BGPPeerSpec{
		MyASN: 64500, PeerASN: 64501, PeerAddress: "192.0.2.1", VRFName: "red",
		NodeSelectors: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: metav1.LabelSelectorOpExists}}}},
	}}
	var one v1beta1.BGPPeer
	if err := one.FromV1beta2(&two); err != nil {
		t.Fatal(err)
	}
	const want = `{"vrf":"red","nodeSelectors":[{"matchExpressions":[{"key":"rack","operator":"Exists"}]}]}`
	if got := one.Annotations[v1beta1.AnnotationBGPPeerRest]; got != want {
		t.Errorf("the annotation is %s, want %s", got, want)
	}

	// What is changed in version v1beta1 counts; the rest stays.
	one.Spec.PeerAddress = "192.0.2.2"
	one.Spec.NodeSelectors = []v1beta1.NodeSelector{{MatchLabels: map[string]string{"rack": "1"}}}
	var changed v1beta2.BGPPeer
	one.ToV1beta2(&changed)
	two.Spec.PeerAddress, two.Spec.NodeSelectors = "192.0.2.2", []metav1.LabelSelector{{MatchLabels: map[string]string{"rack": "1"}}}
	if diff := cmp.Diff(two, changed, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}

	// An annotation of nonsense keeps nobody from reading the object.
	one.Annotations[v1beta1.AnnotationBGPPeerRest] = "{"
	one.ToV1beta2(&changed)
	two.Spec.VRFName = ""
	if diff := cmp.Diff(two, changed, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
