package shuffle

import (
	"errors"
	"slices"
	"sync"

	"github.com/gorunner/gorunner/element"
)

// Later is data that is to last and not stored yet. Whoever makes its commit last
// stores it just before, if it is still wanted then, together with others: what
// has been consumed by that time never gets to the disk. It implements
// element.Stored, and is safe for concurrent use.
type Later struct {
	size int

	mu     sync.Mutex
	data   []byte         // guarded by mu; nil once it is stored
	stored element.Stored // guarded by mu; nil until then
}

// NewLater makes a Later of data, which nobody may write to any more.
func NewLater(data []byte) *Later { return &Later{size: len(data), data: data} }

// Size is the number of bytes.
func (l *Later) Size() int { return l.size }

// Unwritten returns the data as long as it is not stored, then nil.
func (l *Later) Unwritten() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data
}

// Wrote says where the data lies from now on.
func (l *Later) Wrote(s element.Stored) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data, l.stored = nil, s
}

// Load returns a copy of the data.
func (l *Later) Load() ([]byte, error) {
	l.mu.Lock()
	data, stored := l.data, l.stored
	l.mu.Unlock()
	if stored == nil {
		return slices.Clone(data), nil
	}
	return stored.Load()
}

// errUnwritten is the answer to who asks too early where data lies.
var errUnwritten = errors.New("it is not stored yet")

// Place says where the data lies.
func (l *Later) Place() (element.Place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stored == nil {
		return element.Place{}, errUnwritten
	}
	return l.stored.Place()
}

// unwritten is what of a stored thing is not on disk yet; nil if it is there.
func unwritten(s element.Stored) []byte {
	if l, ok := s.(*Later); ok {
		return l.Unwritten()
	}
	return nil
}
