package fnapi

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/gorunner/gorunner/execution/harness"
)

// Fields of StateRequest and StateResponse. Those of the operation are the same
// in both.
const (
	fieldStateID          = 1
	fieldStateInstruction = 2
	fieldStateKey         = 3
	fieldStateError       = 2

	fieldStateGet    = 1000
	fieldStateAppend = 1001
	fieldStateClear  = 1002

	fieldGetToken   = 1
	fieldGetData    = 2
	fieldAppendData = 1
)

// stateOp is what is to be done, by its field.
type stateOp protowire.Number

const (
	opUnknown stateOp = 0
	opGet     stateOp = fieldStateGet
	opAppend  stateOp = fieldStateAppend
	opClear   stateOp = fieldStateClear
)

// stateRequest is a request as it came: it aliases the message, except for what
// of its key is kept.
type stateRequest struct {
	id, instruction []byte
	key             harness.StateKey
	op              stateOp
	// data is the token of a get, and what is to be appended.
	data []byte
	// message is what the request aliases.
	message mem.Buffer
	// bundle is whose it is; nil if it is not being executed.
	bundle *execution
}

var errStateRequest = errors.New("the request is of no known kind")

// parseStateRequest reads a request. Where the error is about the request alone,
// and not about what its message is made of, the request has its id.
func parseStateRequest(b []byte, keys *stateKeys) (stateRequest, error) {
	var r stateRequest
	var keyErr error
	var key []byte
	err := eachField(b, func(f field) error {
		switch {
		case f.typ != protowire.BytesType:
		case f.num == fieldStateID:
			r.id = f.bytes
		case f.num == fieldStateInstruction:
			r.instruction = f.bytes
		case f.num == fieldStateKey:
			key = f.bytes
		case f.num == fieldStateGet || f.num == fieldStateAppend || f.num == fieldStateClear:
			r.op, r.data = stateOp(f.num), f.bytes
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	if r.op != opUnknown {
		if r.data, err = operand(r.data); err != nil {
			return r, err
		}
	}
	if r.key, keyErr = keys.parse(key); keyErr != nil {
		return r, keyErr
	}
	if r.op == opUnknown {
		return r, errStateRequest
	}
	return r, nil
}

// operand reads the one field that requests have: the token of a get, or the
// data to append.
func operand(b []byte) (data []byte, err error) {
	err = eachField(b, func(f field) error {
		if f.is(fieldAppendData, protowire.BytesType) {
			data = f.bytes
		}
		return nil
	})
	return data, err
}

// copyPageMax is the size up to which a page is copied into its answer, which
// costs less than a buffer more.
const copyPageMax = 1 << 10

// getAnswer encodes the answer to a get. A large page is not copied.
func getAnswer(id, page, next []byte) *outFrame {
	size := 0
	if len(next) > 0 {
		size += protowire.SizeTag(fieldGetToken) + protowire.SizeBytes(len(next))
	}
	if len(page) > 0 {
		size += protowire.SizeTag(fieldGetData) + protowire.SizeBytes(len(page))
	}
	room := len(id) + len(next) + 32
	if len(page) <= copyPageMax {
		room += len(page)
	}
	b := appendBytes(make([]byte, 0, room), fieldStateID, id)
	b = protowire.AppendTag(b, fieldStateGet, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	if len(next) > 0 {
		b = appendBytes(b, fieldGetToken, next)
	}
	switch {
	case len(page) == 0:
	case len(page) <= copyPageMax:
		b = appendBytes(b, fieldGetData, page)
	default:
		b = protowire.AppendTag(b, fieldGetData, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(len(page)))
		return &outFrame{bufs: mem.BufferSlice{mem.SliceBuffer(b), mem.SliceBuffer(page)}}
	}
	return frameOf(b)
}

// doneAnswer encodes the answer to an operation that yields nothing.
func doneAnswer(id []byte, op stateOp) *outFrame {
	b := appendBytes(make([]byte, 0, len(id)+8), fieldStateID, id)
	b = protowire.AppendTag(b, protowire.Number(op), protowire.BytesType)
	b = protowire.AppendVarint(b, 0)
	return frameOf(b)
}

// errorAnswer encodes the answer to a request that failed.
func errorAnswer(r *stateRequest, err error) *outFrame {
	// A proto takes no other text.
	text := strings.ToValidUTF8(fmt.Sprintf("state request %s of instruction %s: %v", r.id, r.instruction, err), "\uFFFD")
	b := appendBytes(nil, fieldStateID, r.id)
	return frameOf(appendString(b, fieldStateError, text))
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}
