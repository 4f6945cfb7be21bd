package engine

import (
	"encoding/binary"
	"testing"

	"github.com/gorunner/gorunner/state"
)

// BenchmarkUserState is the cost of a request for user state: a value of each of
// many keys is read and replaced.
func BenchmarkUserState(b *testing.B) {
	const keys, perBundle = 1000, 2000
	store := state.NewMemory()
	key := bagKey("12345678")
	value := []byte("value")
	b.ReportAllocs()
	for n := 0; n < b.N; n += 3 * perBundle {
		s := stateOn(store)
		for i := range perBundle {
			binary.BigEndian.PutUint64(key.Key, uint64(i%keys))
			if _, _, err := s.Get(b.Context(), key, nil); err != nil {
				b.Fatal(err)
			}
			if err := s.Clear(b.Context(), key); err != nil {
				b.Fatal(err)
			}
			if err := s.Append(b.Context(), key, value); err != nil {
				b.Fatal(err)
			}
		}
		s.end()
		if err := s.txn.Apply(0); err != nil {
			b.Fatal(err)
		}
	}
}
