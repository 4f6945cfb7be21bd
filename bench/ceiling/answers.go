package main

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/execution/harness"
)

// answers are what was read of state, by cell. They are written while a job is
// recorded, and only read while it is replayed.
type answers struct {
	mu    sync.Mutex
	cells map[string]*cell // guarded by mu while the job is recorded
}

// cell is what was read of a cell, in order.
type cell struct {
	gets []answer
	next atomic.Int64
}

type answer struct{ page, next []byte }

func newAnswers() answers { return answers{cells: make(map[string]*cell)} }

func (a *answers) add(key harness.StateKey, token, page, next []byte) {
	id := string(appendCell(nil, key, token))
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.cells[id]
	if c == nil {
		c = &cell{}
		a.cells[id] = c
	}
	if _, user := key.(harness.UserStateKey); user || len(c.gets) == 0 {
		c.gets = append(c.gets, answer{page, next}) // only user state changes
	}
}

// appendCell appends a name of the cell and page.
func appendCell(b []byte, key harness.StateKey, token []byte) []byte {
	bytes := func(s []byte) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	switch k := key.(type) {
	case harness.SideInputKey:
		b = append(b, 'v')
		text(string(k.Transform))
		text(k.Tag)
		bytes(k.Window)
		number(int64(k.Part))
		bytes(k.Key)
	case harness.UserStateKey:
		b = append(b, 'u')
		text(string(k.Transform))
		text(k.State)
		bytes(k.Window)
		bytes(k.Key)
		number(int64(k.Part))
		bytes(k.MapKey)
		number(k.Start)
		number(k.End)
	case harness.PageKey:
		b = append(b, 'p')
		text(k.Token)
	}
	bytes(token)
	return b
}

// listener is a bundle's state while it is recorded.
type listener struct {
	harness.State
	answers  *answers
	requests *atomic.Int64
}

// Get implements harness.State.
func (l *listener) Get(ctx context.Context, key harness.StateKey, token []byte) (page, next []byte, err error) {
	l.requests.Add(1)
	page, next, err = l.State.Get(ctx, key, token)
	if err == nil {
		l.answers.add(key, token, page, next)
	}
	return page, next, err
}

// Append implements harness.State.
func (l *listener) Append(ctx context.Context, key harness.StateKey, data []byte) error {
	l.requests.Add(1)
	return l.State.Append(ctx, key, data)
}

// Clear implements harness.State.
func (l *listener) Clear(ctx context.Context, key harness.StateKey) error {
	l.requests.Add(1)
	return l.State.Clear(ctx, key)
}

// replayed is the state of all bundles of a replay.
type replayed struct {
	answers *answers
	missed  atomic.Int64
}

// Prompt implements harness.State.
func (*replayed) Prompt(harness.StateKey) bool { return true }

// Get implements harness.State.
func (r *replayed) Get(_ context.Context, key harness.StateKey, token []byte) (page, next []byte, err error) {
	var room [256]byte
	c := r.answers.cells[string(appendCell(room[:0], key, token))]
	if c == nil {
		r.missed.Add(1)
		return nil, nil, nil
	}
	a := &c.gets[0]
	if n := int64(len(c.gets)); n > 1 {
		a = &c.gets[(c.next.Add(1)-1)%n]
	}
	return a.page, a.next, nil
}

// Append implements harness.State.
func (*replayed) Append(context.Context, harness.StateKey, []byte) error { return nil }

// Clear implements harness.State.
func (*replayed) Clear(context.Context, harness.StateKey) error { return nil }
