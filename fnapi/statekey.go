package fnapi

import (
	"errors"
	"fmt"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

var errStateKey = errors.New("unknown state key")

// stateKey converts the key of a state request.
func stateKey(k *fnpb.StateKey) (harness.StateKey, error) {
	switch t := k.GetType().(type) {
	case *fnpb.StateKey_Runner_:
		return harness.PageKey{Token: string(t.Runner.GetKey())}, nil
	case *fnpb.StateKey_IterableSideInput_:
		return sideInputKey(t.IterableSideInput, harness.PartIterable), nil
	case *fnpb.StateKey_MultimapKeysSideInput_:
		return sideInputKey(t.MultimapKeysSideInput, harness.PartKeys), nil
	case *fnpb.StateKey_MultimapKeysValuesSideInput_:
		return sideInputKey(t.MultimapKeysValuesSideInput, harness.PartEntries), nil
	case *fnpb.StateKey_MultimapSideInput_:
		key := sideInputKey(t.MultimapSideInput, harness.PartValues)
		key.Key = t.MultimapSideInput.GetKey()
		return key, nil
	case *fnpb.StateKey_BagUserState_:
		return userStateKey(t.BagUserState, harness.PartBag), nil
	case *fnpb.StateKey_MultimapKeysUserState_:
		return userStateKey(t.MultimapKeysUserState, harness.PartMapKeys), nil
	case *fnpb.StateKey_MultimapUserState_:
		key := userStateKey(t.MultimapUserState, harness.PartMapValues)
		key.MapKey = t.MultimapUserState.GetMapKey()
		return key, nil
	case *fnpb.StateKey_OrderedListUserState_:
		key := userStateKey(t.OrderedListUserState, harness.PartOrderedList)
		key.Start = t.OrderedListUserState.GetRange().GetStart()
		key.End = t.OrderedListUserState.GetRange().GetEnd()
		return key, nil
	case nil:
		return newerStateKey(k)
	}
	return nil, fmt.Errorf("%w: %T", errStateKey, k.GetType())
}

// fieldMultimapEntries is the field of StateKey for all entries of a multimap.
// The generated protos do not have it, while SDKs may send it. Its message has
// the fields of MultimapKeysUserState.
const fieldMultimapEntries = 10

// newerStateKey reads a key whose kind the generated protos do not know.
func newerStateKey(k *fnpb.StateKey) (harness.StateKey, error) {
	unknown := k.ProtoReflect().GetUnknown()
	if len(unknown) == 0 {
		return nil, fmt.Errorf("%w: it is empty", errStateKey)
	}
	num, typ, n := protowire.ConsumeTag(unknown)
	if n < 0 || num != fieldMultimapEntries || typ != protowire.BytesType {
		return nil, fmt.Errorf("%w: field %d", errStateKey, num)
	}
	body, n := protowire.ConsumeBytes(unknown[n:])
	if n < 0 {
		return nil, fmt.Errorf("%w: field %d: %w", errStateKey, num, protowire.ParseError(n))
	}
	var entries fnpb.StateKey_MultimapKeysUserState
	if err := proto.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("%w: field %d: %w", errStateKey, num, err)
	}
	return userStateKey(&entries, harness.PartMapEntries), nil
}

type sideInputProto interface {
	GetTransformId() string
	GetSideInputId() string
	GetWindow() []byte
}

func sideInputKey(p sideInputProto, part harness.SideInputPart) harness.SideInputKey {
	return harness.SideInputKey{
		Transform: plan.TransformID(p.GetTransformId()),
		Tag:       p.GetSideInputId(),
		Window:    p.GetWindow(),
		Part:      part,
	}
}

type userStateProto interface {
	GetTransformId() string
	GetUserStateId() string
	GetWindow() []byte
	GetKey() []byte
}

func userStateKey(p userStateProto, part harness.UserStatePart) harness.UserStateKey {
	return harness.UserStateKey{
		Transform: plan.TransformID(p.GetTransformId()),
		State:     p.GetUserStateId(),
		Window:    p.GetWindow(),
		Key:       p.GetKey(),
		Part:      part,
	}
}
