package fnapi

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/gorunner/gorunner/execution/harness"
)

// TestStateKeysAreKept holds that keys which are parsed again, among others of any
// kind, are what they were, whatever becomes of the messages that they came in.
func TestStateKeysAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := newStateKeys()
		kept := map[string]harness.StateKey{}
		for range rapid.IntRange(1, 50).Draw(t, "requests") {
			user := harness.UserStateKey{
				Transform: "t", State: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "state"), Window: []byte("w"),
				Key:  fmt.Append(nil, rapid.IntRange(0, 3*stateKeysKept).Draw(t, "key")),
				Part: rapid.SampledFrom([]harness.UserStatePart{harness.PartBag, harness.PartMapKeys, harness.PartMapValues}).Draw(t, "part"),
			}
			if user.Part == harness.PartMapValues {
				user.MapKey = make([]byte, rapid.SampledFrom([]int{1, stateKeyKeptMax}).Draw(t, "size"))
			}
			wire, err := proto.Marshal(userKeyProto(user))
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.parse(wire)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(harness.StateKey(user), got); diff != "" {
				t.Fatal(diff)
			}
			if keeps(wire) {
				kept[string(wire)] = got
				clear(wire)
			}
			for wire, key := range kept {
				if again, err := parseStateKey([]byte(wire), names{}); err != nil || !cmp.Equal(key, again) {
					t.Fatalf("%v has become %v, %v", again, key, err)
				}
			}
		}
	})
}

// TestStateKeysThatAreNone holds that what cannot be parsed is not kept.
func TestStateKeysThatAreNone(t *testing.T) {
	keys := newStateKeys()
	for range 2 {
		if key, err := keys.parse([]byte{fieldBagUserState<<3 | 2, 200}); err == nil {
			t.Errorf("parsed %v", key)
		}
	}
}
