package fnapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/gorunner/gorunner/execution/harness"
)

// fakeState is a state of byte strings, with pages of two bytes. Cells whose
// name is in gates wait for it before they answer.
type fakeState struct {
	mu    sync.Mutex
	cells map[string]string
	trace []string
	gates map[string]chan struct{}
}

func (f *fakeState) enter(op string, key harness.StateKey) (string, func()) {
	name := fmt.Sprint(key)
	switch k := key.(type) {
	case harness.UserStateKey:
		name = k.State
	case harness.SideInputKey:
		name = k.Tag
	case harness.PageKey:
		name = k.Token
	}
	if gate := f.gates[name]; gate != nil {
		<-gate
	}
	f.mu.Lock()
	f.trace = append(f.trace, op+" "+name)
	return name, f.mu.Unlock
}

// Prompt tells the truth of cells that wait for nothing.
func (f *fakeState) Prompt(key harness.StateKey) bool {
	user, ok := key.(harness.UserStateKey)
	return !ok || f.gates[user.State] == nil
}

func (f *fakeState) Get(_ context.Context, key harness.StateKey, token []byte) (page, next []byte, err error) {
	name, done := f.enter("get", key)
	defer done()
	if name == "panics" {
		panic("index out of range")
	}
	if name == "broken" {
		return nil, nil, errors.New("disk on fire")
	}
	var at int
	if len(token) > 0 {
		if _, err := fmt.Sscan(string(token), &at); err != nil {
			return nil, nil, err
		}
	}
	rest := f.cells[name][at:]
	if len(rest) <= 2 {
		return []byte(rest), nil, nil
	}
	return []byte(rest[:2]), fmt.Append(nil, at+2), nil
}

func (f *fakeState) Append(_ context.Context, key harness.StateKey, data []byte) error {
	name, done := f.enter("append", key)
	defer done()
	f.cells[name] += string(data)
	return nil
}

func (f *fakeState) Clear(_ context.Context, key harness.StateKey) error {
	name, done := f.enter("clear", key)
	defer done()
	delete(f.cells, name)
	return nil
}

// stateClient is the harness' end of a state stream.
type stateClient struct {
	t      testing.TB
	stream fnpb.BeamFnState_StateClient
	next   int
}

func (s *sdk) openState() *stateClient {
	s.t.Helper()
	stream, err := fnpb.NewBeamFnStateClient(s.conn).State(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return &stateClient{t: s.t, stream: stream}
}

// send sends a request and returns its id.
func (c *stateClient) send(instruction string, key *fnpb.StateKey, request any) string {
	c.t.Helper()
	c.next++
	req := &fnpb.StateRequest{Id: fmt.Sprintf("r%d", c.next), InstructionId: instruction, StateKey: key}
	setRequest(req, request)
	if err := c.stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
	return req.GetId()
}

// setRequest says what is asked for.
func setRequest(req *fnpb.StateRequest, request any) {
	switch r := request.(type) {
	case *fnpb.StateGetRequest:
		req.Request = &fnpb.StateRequest_Get{Get: r}
	case *fnpb.StateAppendRequest:
		req.Request = &fnpb.StateRequest_Append{Append: r}
	case *fnpb.StateClearRequest:
		req.Request = &fnpb.StateRequest_Clear{Clear: r}
	}
}

func (c *stateClient) recv() *fnpb.StateResponse {
	c.t.Helper()
	resp, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func bagKey(name string) *fnpb.StateKey {
	return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{
		TransformId: "t", UserStateId: name, Window: []byte("w"), Key: []byte("k"),
	}}}
}

func withState(t *testing.T, opts Options, state harness.State, f func(w *Worker, id string, c *stateClient)) {
	t.Helper()
	inBubble(t, opts, func(e *env) {
		t := e.t
		w := e.expect(nil)
		s := e.connect("w1")
		b := testBundle(1, &sink{})
		b.State = state
		start(t, w, b)
		f(w, s.nextBundle(), s.openState())
	})
}

func TestStatePages(t *testing.T) {
	state := &fakeState{cells: map[string]string{"pages": "abcde"}}
	withState(t, Options{}, state, func(_ *Worker, id string, c *stateClient) {
		t := c.t
		key := &fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: []byte("pages")}}}
		var got []string
		var token []byte
		for {
			want := c.send(id, key, &fnpb.StateGetRequest{ContinuationToken: token})
			resp := c.recv()
			if resp.GetId() != want || resp.GetError() != "" {
				t.Fatalf("response %v to %s", resp, want)
			}
			got = append(got, string(resp.GetGet().GetData()))
			if token = resp.GetGet().GetContinuationToken(); len(token) == 0 {
				break
			}
		}
		if diff := cmp.Diff([]string{"ab", "cd", "e"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Requests for one cell, in whatever part, keep their order; other cells do not
// wait for it.
func TestStateOrder(t *testing.T) {
	state := &fakeState{cells: map[string]string{"quick": "q"}}
	withState(t, Options{}, state, func(_ *Worker, id string, c *stateClient) {
		t := c.t
		slow := make(chan struct{})
		state.gates = map[string]chan struct{}{"slow": slow}
		mapKey := &fnpb.StateKey{Type: &fnpb.StateKey_MultimapUserState_{MultimapUserState: &fnpb.StateKey_MultimapUserState{
			TransformId: "t", UserStateId: "slow", Window: []byte("w"), Key: []byte("k"), MapKey: []byte("m"),
		}}}
		c.send(id, bagKey("slow"), &fnpb.StateAppendRequest{Data: []byte("x")})
		c.send(id, mapKey, &fnpb.StateClearRequest{})
		c.send(id, bagKey("slow"), &fnpb.StateAppendRequest{Data: []byte("y")})
		c.send(id, bagKey("slow"), &fnpb.StateGetRequest{})
		quick := c.send(id, bagKey("quick"), &fnpb.StateGetRequest{})
		if resp := c.recv(); resp.GetId() != quick || string(resp.GetGet().GetData()) != "q" {
			t.Errorf("first response %v, want the one that need not wait", resp)
		}
		close(slow)
		for i := 1; i <= 4; i++ {
			resp := c.recv()
			if want := fmt.Sprintf("r%d", i); resp.GetId() != want || resp.GetError() != "" {
				t.Errorf("response %v, want to %s", resp, want)
			}
			if i == 4 && string(resp.GetGet().GetData()) != "y" {
				t.Errorf("read %q, want y", resp.GetGet().GetData())
			}
		}
		want := []string{"get quick", "append slow", "clear slow", "append slow", "get slow"}
		if diff := cmp.Diff(want, state.trace); diff != "" {
			t.Error(diff)
		}
	})
}

func TestStateLimit(t *testing.T) {
	state := &fakeState{}
	withState(t, Options{MaxStateRequests: 2}, state, func(_ *Worker, id string, c *stateClient) {
		t := c.t
		gate := make(chan struct{})
		state.gates = map[string]chan struct{}{"a": gate, "b": gate}
		c.send(id, bagKey("a"), &fnpb.StateGetRequest{})
		c.send(id, bagKey("b"), &fnpb.StateGetRequest{})
		c.send(id, bagKey("c"), &fnpb.StateGetRequest{})
		synctest.Wait()
		if len(state.trace) != 0 {
			t.Errorf("served beyond the limit: %v", state.trace)
		}
		close(gate)
		for range 3 {
			if resp := c.recv(); resp.GetError() != "" {
				t.Error(resp)
			}
		}
	})
}

func TestStateErrors(t *testing.T) {
	future := &fnpb.StateKey{}
	future.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 77, protowire.BytesType), "x"))
	tests := []struct {
		name        string
		instruction string
		key         *fnpb.StateKey
		request     any
		want        string
	}{
		{"unknown instruction", "i99", bagKey("x"), &fnpb.StateGetRequest{}, "i99"},
		{"no key", "", nil, &fnpb.StateGetRequest{}, "unknown state key"},
		{"key of the future", "", future, &fnpb.StateGetRequest{}, "field 77"},
		{"unknown request", "", bagKey("x"), nil, "no known kind"},
		{"state fails", "", bagKey("broken"), &fnpb.StateGetRequest{}, "disk on fire"},
		{"state panics", "", bagKey("panics"), &fnpb.StateGetRequest{}, "internal error: index out of range"},
	}
	withState(t, Options{}, &fakeState{}, func(w *Worker, id string, c *stateClient) {
		t := c.t
		for _, tt := range tests {
			instruction := tt.instruction
			if instruction == "" {
				instruction = id
			}
			want := c.send(instruction, tt.key, tt.request)
			resp := c.recv()
			if resp.GetId() != want || !strings.Contains(resp.GetError(), tt.want) {
				t.Errorf("%s: response %v, want %s with %q", tt.name, resp, want, tt.want)
			}
		}
		if err := w.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestStateStreamMayEnd(t *testing.T) {
	withState(t, Options{}, &fakeState{cells: map[string]string{"a": "x"}}, func(w *Worker, id string, c *stateClient) {
		t := c.t
		if err := c.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		_, err := c.stream.Recv()
		wantEnd(t, err, true)
		synctest.Wait()
		if err := w.Err(); err != nil {
			t.Errorf("the worker ended with its state stream: %v", err)
		}
	})
}

func TestStateKeys(t *testing.T) {
	const tr, id = "tr", "id"
	win, key, mapKey := []byte("w"), []byte("k"), []byte("m")
	entriesBody, err := proto.Marshal(&fnpb.StateKey_MultimapKeysUserState{TransformId: tr, UserStateId: id, Window: win, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	entries := &fnpb.StateKey{}
	entries.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, fieldMultimapEntries, protowire.BytesType), entriesBody))
	user := func(part harness.UserStatePart) harness.UserStateKey {
		return harness.UserStateKey{Transform: tr, State: id, Window: win, Key: key, Part: part}
	}
	side := func(part harness.SideInputPart) harness.SideInputKey {
		return harness.SideInputKey{Transform: tr, Tag: id, Window: win, Part: part}
	}
	values := side(harness.PartValues)
	values.Key = key
	mapValues := user(harness.PartMapValues)
	mapValues.MapKey = mapKey
	list := user(harness.PartOrderedList)
	list.Start, list.End = -5, 9
	tests := []struct {
		proto *fnpb.StateKey
		want  harness.StateKey
	}{
		{&fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: []byte("tok")}}}, harness.PageKey{Token: "tok"}},
		{&fnpb.StateKey{Type: &fnpb.StateKey_IterableSideInput_{IterableSideInput: &fnpb.StateKey_IterableSideInput{TransformId: tr, SideInputId: id, Window: win}}}, side(harness.PartIterable)},
		{&fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysSideInput_{MultimapKeysSideInput: &fnpb.StateKey_MultimapKeysSideInput{TransformId: tr, SideInputId: id, Window: win}}}, side(harness.PartKeys)},
		{&fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysValuesSideInput_{MultimapKeysValuesSideInput: &fnpb.StateKey_MultimapKeysValuesSideInput{TransformId: tr, SideInputId: id, Window: win}}}, side(harness.PartEntries)},
		{&fnpb.StateKey{Type: &fnpb.StateKey_MultimapSideInput_{MultimapSideInput: &fnpb.StateKey_MultimapSideInput{TransformId: tr, SideInputId: id, Window: win, Key: key}}}, values},
		{&fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{TransformId: tr, UserStateId: id, Window: win, Key: key}}}, user(harness.PartBag)},
		{&fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysUserState_{MultimapKeysUserState: &fnpb.StateKey_MultimapKeysUserState{TransformId: tr, UserStateId: id, Window: win, Key: key}}}, user(harness.PartMapKeys)},
		{&fnpb.StateKey{Type: &fnpb.StateKey_MultimapUserState_{MultimapUserState: &fnpb.StateKey_MultimapUserState{TransformId: tr, UserStateId: id, Window: win, Key: key, MapKey: mapKey}}}, mapValues},
		{&fnpb.StateKey{Type: &fnpb.StateKey_OrderedListUserState_{OrderedListUserState: &fnpb.StateKey_OrderedListUserState{TransformId: tr, UserStateId: id, Window: win, Key: key, Range: &fnpb.OrderedListRange{Start: -5, End: 9}}}}, list},
		{entries, user(harness.PartMapEntries)},
	}
	for _, tt := range tests {
		wire, err := proto.Marshal(tt.proto)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseStateKey(wire, names{})
		if err != nil {
			t.Errorf("%v: %v", tt.proto, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// keyProto makes the proto of a key, as an SDK would.
func keyProto(key harness.StateKey) *fnpb.StateKey {
	switch k := key.(type) {
	case harness.PageKey:
		return &fnpb.StateKey{Type: &fnpb.StateKey_Runner_{Runner: &fnpb.StateKey_Runner{Key: []byte(k.Token)}}}
	case harness.SideInputKey:
		return sideKeyProto(k)
	case harness.UserStateKey:
		return userKeyProto(k)
	}
	return nil
}

func sideKeyProto(k harness.SideInputKey) *fnpb.StateKey {
	tr := string(k.Transform)
	switch k.Part {
	case harness.PartIterable:
		return &fnpb.StateKey{Type: &fnpb.StateKey_IterableSideInput_{IterableSideInput: &fnpb.StateKey_IterableSideInput{TransformId: tr, SideInputId: k.Tag, Window: k.Window}}}
	case harness.PartKeys:
		return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysSideInput_{MultimapKeysSideInput: &fnpb.StateKey_MultimapKeysSideInput{TransformId: tr, SideInputId: k.Tag, Window: k.Window}}}
	case harness.PartValues:
		return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapSideInput_{MultimapSideInput: &fnpb.StateKey_MultimapSideInput{TransformId: tr, SideInputId: k.Tag, Window: k.Window, Key: k.Key}}}
	case harness.PartEntries:
		return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysValuesSideInput_{MultimapKeysValuesSideInput: &fnpb.StateKey_MultimapKeysValuesSideInput{TransformId: tr, SideInputId: k.Tag, Window: k.Window}}}
	}
	return nil
}

func userKeyProto(k harness.UserStateKey) *fnpb.StateKey {
	tr := string(k.Transform)
	switch k.Part {
	case harness.PartBag:
		return &fnpb.StateKey{Type: &fnpb.StateKey_BagUserState_{BagUserState: &fnpb.StateKey_BagUserState{TransformId: tr, UserStateId: k.State, Window: k.Window, Key: k.Key}}}
	case harness.PartMapKeys:
		return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapKeysUserState_{MultimapKeysUserState: &fnpb.StateKey_MultimapKeysUserState{TransformId: tr, UserStateId: k.State, Window: k.Window, Key: k.Key}}}
	case harness.PartMapValues:
		return &fnpb.StateKey{Type: &fnpb.StateKey_MultimapUserState_{MultimapUserState: &fnpb.StateKey_MultimapUserState{TransformId: tr, UserStateId: k.State, Window: k.Window, Key: k.Key, MapKey: k.MapKey}}}
	case harness.PartOrderedList:
		return &fnpb.StateKey{Type: &fnpb.StateKey_OrderedListUserState_{OrderedListUserState: &fnpb.StateKey_OrderedListUserState{
			TransformId: tr, UserStateId: k.State, Window: k.Window, Key: k.Key, Range: &fnpb.OrderedListRange{Start: k.Start, End: k.End},
		}}}
	case harness.PartMapEntries:
		body, err := proto.Marshal(&fnpb.StateKey_MultimapKeysUserState{TransformId: tr, UserStateId: k.State, Window: k.Window, Key: k.Key})
		if err != nil {
			panic(err)
		}
		p := &fnpb.StateKey{}
		p.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, fieldMultimapEntries, protowire.BytesType), body))
		return p
	}
	return nil
}

// FuzzStateRequest holds that whatever is parsed is a request that protobuf can
// write and parses back to the same, and that nothing panics.
func FuzzStateRequest(f *testing.F) {
	for _, req := range []*fnpb.StateRequest{
		{Id: "1", InstructionId: "i1", StateKey: bagKey("x"), Request: &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{ContinuationToken: []byte("t")}}},
		{Id: "2", InstructionId: "i1", StateKey: bagKey("x"), Request: &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: []byte("d")}}},
		{Id: "3", StateKey: userKeyProto(harness.UserStateKey{Part: harness.PartOrderedList, Start: -1}), Request: &fnpb.StateRequest_Clear{}},
		{Id: "4", StateKey: keyProto(harness.PageKey{Token: "p"})},
	} {
		wire, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Add([]byte{0x1a, 4, 0x52, 2, 0x0a, 5})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r, err := parseStateRequest(wire, newStateKeys())
		if (r.key == nil || r.op == opUnknown) != (err != nil) && errors.Is(err, errStateRequest) {
			t.Fatalf("key %v, operation %d, error %v", r.key, r.op, err)
		}
		if err != nil || !utf8.Valid(r.id) || !utf8.Valid(r.instruction) {
			return
		}
		req := &fnpb.StateRequest{Id: string(r.id), InstructionId: string(r.instruction), StateKey: keyProto(r.key)}
		switch r.op {
		case opGet:
			req.Request = &fnpb.StateRequest_Get{Get: &fnpb.StateGetRequest{ContinuationToken: r.data}}
		case opAppend:
			req.Request = &fnpb.StateRequest_Append{Append: &fnpb.StateAppendRequest{Data: r.data}}
		case opUnknown:
			t.Fatal("a request of no known kind")
		case opClear:
			req.Request = &fnpb.StateRequest_Clear{Clear: &fnpb.StateClearRequest{}}
		}
		again, err := proto.Marshal(req)
		if err != nil {
			return // text that is none
		}
		same, err := parseStateRequest(again, newStateKeys())
		if err != nil {
			t.Fatal(err)
		}
		if r.op == opClear {
			r.data = nil
		}
		diff := cmp.Diff(r, same, cmp.AllowUnexported(stateRequest{}), cmpopts.EquateEmpty())
		if diff != "" {
			t.Error(diff)
		}
	})
}

// TestStateAnswers holds the answers against what protobuf makes of them.
func TestStateAnswers(t *testing.T) {
	id, token := []byte("r1"), []byte("next")
	big := bytes.Repeat([]byte("x"), copyPageMax+1)
	get := func(page, next []byte) *fnpb.StateResponse {
		return &fnpb.StateResponse{Id: "r1", Response: &fnpb.StateResponse_Get{Get: &fnpb.StateGetResponse{Data: page, ContinuationToken: next}}}
	}
	tests := []struct {
		frame *outFrame
		want  *fnpb.StateResponse
	}{
		{getAnswer(id, nil, nil), get(nil, nil)},
		{getAnswer(id, []byte("page"), nil), get([]byte("page"), nil)},
		{getAnswer(id, nil, token), get(nil, token)},
		{getAnswer(id, []byte("page"), token), get([]byte("page"), token)},
		{getAnswer(id, big, token), get(big, token)},
		{doneAnswer(id, opAppend), &fnpb.StateResponse{Id: "r1", Response: &fnpb.StateResponse_Append{Append: &fnpb.StateAppendResponse{}}}},
		{doneAnswer(id, opClear), &fnpb.StateResponse{Id: "r1", Response: &fnpb.StateResponse_Clear{Clear: &fnpb.StateClearResponse{}}}},
		{
			errorAnswer(&stateRequest{id: id, instruction: []byte("i1")}, errors.New("no \xff")),
			&fnpb.StateResponse{Id: "r1", Error: "state request r1 of instruction i1: no \uFFFD"},
		},
	}
	for _, tt := range tests {
		got := &fnpb.StateResponse{}
		if err := proto.Unmarshal(tt.frame.bufs.Materialize(), got); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	if n := len(getAnswer(id, big, nil).bufs); n != 2 {
		t.Errorf("a large page in %d buffers: it was copied", n)
	}
}
