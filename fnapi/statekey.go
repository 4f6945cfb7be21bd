package fnapi

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// The kinds of StateKey, by their fields. The generated protos do not have the
// last, while SDKs may send it; its message has the fields of the keys of a
// multimap.
const (
	fieldRunnerKey           = 1
	fieldMultimapSideInput   = 2
	fieldBagUserState        = 3
	fieldIterableSideInput   = 4
	fieldMultimapKeysSide    = 5
	fieldMultimapKeysState   = 6
	fieldMultimapState       = 7
	fieldMultimapEntriesSide = 8
	fieldOrderedList         = 9
	fieldMultimapEntries     = 10
)

// The fields of the kinds, which are the same in all of them but the first.
const (
	fieldToken        = 1 // of a runner key
	fieldKeyTransform = 1
	fieldKeyName      = 2 // of the side input or state
	fieldKeyWindow    = 3
	fieldKeyKey       = 4
	fieldKeyMapKey    = 5 // of a multimap
	fieldKeyRange     = 5 // of an ordered list
	fieldRangeStart   = 1
	fieldRangeEnd     = 2
)

var errStateKey = errors.New("unknown state key")

// stateKeys parses the keys of the requests of a stream. To do something with a
// cell of user state takes several requests, between which come those of other
// bundles. So the keys of bags and maps that came last are kept as they were
// parsed.
type stateKeys struct {
	names names
	seed  maphash.Seed
	last  [stateKeysKept]keptKey // each in the place of its hash
}

type keptKey struct {
	encoded []byte
	key     harness.StateKey // which aliases it
}

// Of the keys that are kept there are so many, each with so many bytes at most.
const (
	stateKeysKept   = 256
	stateKeyKeptMax = 512
)

func newStateKeys() *stateKeys { return &stateKeys{names: make(names), seed: maphash.MakeSeed()} }

// parse reads a StateKey. The result may alias b.
func (k *stateKeys) parse(b []byte) (harness.StateKey, error) {
	if !keeps(b) {
		return parseStateKey(b, k.names)
	}
	kept := &k.last[maphash.Bytes(k.seed, b)%stateKeysKept]
	if bytes.Equal(kept.encoded, b) {
		return kept.key, nil
	}
	encoded := bytes.Clone(b)
	key, err := parseStateKey(encoded, k.names)
	if err == nil {
		*kept = keptKey{encoded, key}
	}
	return key, err
}

// keeps says whether a key is worth to be kept. The tags of all kinds take one
// byte.
func keeps(b []byte) bool {
	if len(b) == 0 || len(b) > stateKeyKeptMax {
		return false
	}
	kind, _ := protowire.DecodeTag(uint64(b[0]))
	return kind == fieldBagUserState || kind == fieldMultimapState
}

// parseStateKey reads a StateKey. The result aliases b, except for its names.
func parseStateKey(b []byte, n names) (key harness.StateKey, err error) {
	err = eachField(b, func(f field) error {
		if f.typ == protowire.BytesType {
			key, err = stateKeyOf(f, n)
			return err
		}
		return fmt.Errorf("%w: field %d", errStateKey, f.num)
	})
	if err == nil && key == nil {
		err = fmt.Errorf("%w: it is empty", errStateKey)
	}
	return key, err
}

// stateKeyOf reads the kind of key that the field is.
func stateKeyOf(f field, n names) (harness.StateKey, error) {
	switch int32(f.num) {
	case fieldRunnerKey:
		return pageKey(f.bytes)
	case fieldIterableSideInput:
		return sideInputKey(f.bytes, harness.PartIterable, n)
	case fieldMultimapKeysSide:
		return sideInputKey(f.bytes, harness.PartKeys, n)
	case fieldMultimapEntriesSide:
		return sideInputKey(f.bytes, harness.PartEntries, n)
	case fieldMultimapSideInput:
		return sideInputKey(f.bytes, harness.PartValues, n)
	case fieldBagUserState:
		return userStateKey(f.bytes, harness.PartBag, n)
	case fieldMultimapKeysState:
		return userStateKey(f.bytes, harness.PartMapKeys, n)
	case fieldMultimapState:
		return userStateKey(f.bytes, harness.PartMapValues, n)
	case fieldOrderedList:
		return userStateKey(f.bytes, harness.PartOrderedList, n)
	case fieldMultimapEntries:
		return userStateKey(f.bytes, harness.PartMapEntries, n)
	}
	return nil, fmt.Errorf("%w: field %d", errStateKey, f.num)
}

func pageKey(b []byte) (harness.StateKey, error) {
	var key harness.PageKey
	err := eachField(b, func(f field) error {
		if f.is(fieldToken, protowire.BytesType) {
			key.Token = string(f.bytes)
		}
		return nil
	})
	return key, err
}

func sideInputKey(b []byte, part harness.SideInputPart, n names) (harness.StateKey, error) {
	key := harness.SideInputKey{Part: part}
	err := eachField(b, func(f field) error {
		switch {
		case f.typ != protowire.BytesType:
		case f.num == fieldKeyTransform:
			key.Transform = plan.TransformID(n.get(f.bytes))
		case f.num == fieldKeyName:
			key.Tag = n.get(f.bytes)
		case f.num == fieldKeyWindow:
			key.Window = f.bytes
		case f.num == fieldKeyKey && part == harness.PartValues:
			key.Key = f.bytes
		}
		return nil
	})
	return key, err
}

func userStateKey(b []byte, part harness.UserStatePart, n names) (harness.StateKey, error) {
	key := harness.UserStateKey{Part: part}
	err := eachField(b, func(f field) (err error) {
		switch {
		case f.typ != protowire.BytesType:
		case f.num == fieldKeyTransform:
			key.Transform = plan.TransformID(n.get(f.bytes))
		case f.num == fieldKeyName:
			key.State = n.get(f.bytes)
		case f.num == fieldKeyWindow:
			key.Window = f.bytes
		case f.num == fieldKeyKey:
			key.Key = f.bytes
		case f.num == fieldKeyMapKey && part == harness.PartMapValues:
			key.MapKey = f.bytes
		case f.num == fieldKeyRange && part == harness.PartOrderedList:
			key.Start, key.End, err = sortRange(f.bytes)
		}
		return err
	})
	return key, err
}

func sortRange(b []byte) (start, end int64, err error) {
	err = eachField(b, func(f field) error {
		switch {
		case f.is(fieldRangeStart, protowire.VarintType):
			start = int64(f.number)
		case f.is(fieldRangeEnd, protowire.VarintType):
			end = int64(f.number)
		}
		return nil
	})
	return start, end, err
}

// names are strings that come again and again, each kept once.
type names map[string]string

// namesMax bounds them, for a harness that makes up ever new ones.
const namesMax = 4096

func (n names) get(b []byte) string {
	if s, ok := n[string(b)]; ok {
		return s
	}
	if len(n) >= namesMax {
		clear(n)
	}
	s := string(b)
	n[s] = s
	return s
}
