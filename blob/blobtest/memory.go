package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorunner/gorunner/blob"
)

// Memory is a blob.Bucket in memory that fails as a script says. It keeps to the
// contract of a Bucket whatever the script. The zero value is empty and whole.
type Memory struct {
	// Script decides what goes wrong with an operation; nil is nothing. It is
	// called by one goroutine at a time, and not changed while the bucket is used.
	Script func(Op) Fault
	// ListLag is the number of the last changes that a stale List does not see.
	ListLag int

	mu      sync.Mutex
	ops     int               // guarded by mu, as is all that follows
	objects map[string][]byte // never changed in place
	// before holds earlier states of objects, the newest last, as many as lists lag.
	before []map[string][]byte
	late   []lateChange
	// unfinished counts puts that have left something that cannot be seen.
	unfinished int
}

type lateChange struct {
	at     int
	change func()
}

// Kind is what an operation is.
type Kind string

// The operations of a Bucket.
const (
	Put         Kind = "put"
	PutIfAbsent Kind = "put-if-absent"
	Get         Kind = "get"
	Stat        Kind = "stat"
	List        Kind = "list"
	Delete      Kind = "delete"
	Sweep       Kind = "sweep"
)

// Op is an operation that is about to happen.
type Op struct {
	// Index counts operations from 0 on.
	Index int
	Kind  Kind
	// Name is the object, the first of several, or the prefix of a list.
	Name string
}

// Fault is what goes wrong with an operation.
type Fault int

const (
	// None lets it be.
	None Fault = iota
	// Fail is an error without an effect.
	Fail
	// Refuse is a permanent error without an effect.
	Refuse
	// Lose has the effect, but the answer is an error.
	Lose
	// Delay answers with an error and has the effect some operations later.
	Delay
	// Tear ends in the middle: of a put, something remains that Sweep finds; a get
	// breaks off.
	Tear
	// Stale has a list show what was there some changes ago.
	Stale
	// Hang answers only when the caller gives up, and has no effect.
	Hang
)

// delay is how many operations later a delayed change happens.
const delay = 7

// ErrInjected is the error of a fault.
var ErrInjected = errors.New("injected fault")

// begin counts an operation and returns its fault.
func (m *Memory) begin(ctx context.Context, kind Kind, name string) (Fault, error) {
	if err := ctx.Err(); err != nil {
		return Fail, err
	}
	m.mu.Lock()
	op := Op{Index: m.ops, Kind: kind, Name: name}
	m.ops++
	due := slices.IndexFunc(m.late, func(l lateChange) bool { return l.at > op.Index })
	if due < 0 {
		due = len(m.late)
	}
	for _, l := range m.late[:due] {
		l.change()
	}
	m.late = slices.Delete(m.late, 0, due)
	fault := None
	if m.Script != nil {
		fault = m.Script(op)
	}
	m.mu.Unlock()
	injected := fmt.Errorf("%s %s, operation %d: %w", kind, name, op.Index, ErrInjected)
	switch fault {
	case None, Stale:
		return fault, nil
	case Refuse:
		return fault, fmt.Errorf("%w: %w", blob.ErrPermanent, injected)
	case Hang:
		<-ctx.Done()
		return fault, ctx.Err()
	case Fail, Lose, Delay, Tear:
	}
	return fault, injected
}

// change makes a change by its fault, whose error it returns.
func (m *Memory) change(fault Fault, injected error, change func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	remember := func() error {
		if m.objects == nil {
			m.objects = make(map[string][]byte)
		}
		if m.ListLag > 0 {
			m.before = append(m.before, maps.Clone(m.objects))
			m.before = m.before[max(0, len(m.before)-m.ListLag):]
		}
		return change()
	}
	switch fault {
	case None, Stale:
		return remember()
	case Lose:
		// The answer is lost, whatever it was.
		_ = remember()
	case Delay:
		m.late = append(m.late, lateChange{at: m.ops + delay, change: func() { _ = remember() }})
	case Fail, Refuse, Tear, Hang:
	}
	return injected
}

// Put stores an object.
func (m *Memory) Put(ctx context.Context, name blob.Name, content blob.Source, ifAbsent bool) error {
	kind := Put
	if ifAbsent {
		kind = PutIfAbsent
	}
	fault, injected := m.begin(ctx, kind, string(name))
	b := make([]byte, content.Size())
	if _, err := io.ReadFull(io.NewSectionReader(content, 0, content.Size()), b); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if fault == Tear {
		m.mu.Lock()
		m.unfinished++
		m.mu.Unlock()
	}
	return m.change(fault, injected, func() error {
		if _, taken := m.objects[string(name)]; ifAbsent && taken {
			return blob.ErrExist
		}
		m.objects[string(name)] = b
		return nil
	})
}

// Get reads an object.
func (m *Memory) Get(ctx context.Context, name blob.Name, offset, size int64) (io.ReadCloser, error) {
	fault, injected := m.begin(ctx, Get, string(name))
	if injected != nil && fault != Tear {
		return nil, injected
	}
	m.mu.Lock()
	b, ok := m.objects[string(name)]
	m.mu.Unlock()
	if !ok {
		return nil, blob.ErrNotExist
	}
	b = b[min(offset, int64(len(b))):]
	b = b[:min(size, int64(len(b)))]
	if fault == Tear {
		return io.NopCloser(io.MultiReader(bytes.NewReader(b[:len(b)/2]), failing{injected})), nil
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Stat returns the size of an object.
func (m *Memory) Stat(ctx context.Context, name blob.Name) (int64, error) {
	if _, err := m.begin(ctx, Stat, string(name)); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.objects[string(name)]
	if !ok {
		return 0, blob.ErrNotExist
	}
	return int64(len(b)), nil
}

// List returns a page.
func (m *Memory) List(ctx context.Context, prefix string, after blob.Name, limit int) ([]blob.Info, bool, error) {
	fault, err := m.begin(ctx, List, prefix)
	if err != nil {
		return nil, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	objects := m.objects
	if fault == Stale && len(m.before) > 0 {
		objects = m.before[0]
	}
	var page []blob.Info
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		if strings.HasPrefix(name, prefix) && name > string(after) {
			page = append(page, blob.Info{Name: blob.Name(name), Size: int64(len(objects[name]))})
		}
	}
	if len(page) > limit {
		return page[:limit], true, nil
	}
	return page, false, nil
}

// Delete removes objects.
func (m *Memory) Delete(ctx context.Context, names []blob.Name) error {
	fault, injected := m.begin(ctx, Delete, string(names[0]))
	names = slices.Clone(names)
	return m.change(fault, injected, func() error {
		for _, name := range names {
			delete(m.objects, string(name))
		}
		return nil
	})
}

// Sweep forgets what was left behind, whenever that was.
func (m *Memory) Sweep(ctx context.Context, _ time.Time) (int, error) {
	if _, err := m.begin(ctx, Sweep, ""); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.unfinished
	m.unfinished = 0
	return n, nil
}

// Ops is the number of operations so far.
func (m *Memory) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// Names lists all objects as they are now, whatever the script and the lag.
func (m *Memory) Names() []blob.Name {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []blob.Name
	for _, name := range slices.Sorted(maps.Keys(m.objects)) {
		names = append(names, blob.Name(name))
	}
	return names
}

// Settle lets all happen that is delayed, and lists see it.
func (m *Memory) Settle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.late {
		l.change()
	}
	m.late, m.before = nil, nil
}

// Damage replaces the bytes at rest of an object; nil removes it.
func (m *Memory) Damage(name blob.Name, damage func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := damage(bytes.Clone(m.objects[string(name)]))
	if b == nil {
		delete(m.objects, string(name))
		return
	}
	m.objects[string(name)] = b
}
