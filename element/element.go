// Package element holds the vocabulary every layer shares: event time, key
// groups, element headers and blocks of encoded elements.
//
// Values are plain data, safe to copy; a [Block] is immutable once made, so
// it may be read from any goroutine. The package never looks inside a user's
// value: an element is a header (timestamp, windows, pane) followed by bytes
// whose extent package coder can find.
package element

import (
	"fmt"
	"math"
)

// EventTime is a timestamp in the event-time domain, in milliseconds since
// the Unix epoch, always within [MinTime, MaxTime].
type EventTime int64

// The limits of event time. They are the microsecond range of the Beam model
// cut to milliseconds, so that every SDK can represent them.
const (
	MinTime EventTime = math.MinInt64 / 1000
	MaxTime EventTime = math.MaxInt64 / 1000
	// EndOfGlobalWindow is the maximum timestamp of the global window: one day
	// before MaxTime, which leaves room for timers set at its end.
	EndOfGlobalWindow EventTime = MaxTime - 24*60*60*1000
)

// String prints the limits by name and other times as milliseconds.
func (t EventTime) String() string {
	switch t {
	case MinTime:
		return "-inf"
	case MaxTime:
		return "+inf"
	case EndOfGlobalWindow:
		return "end-of-global"
	}
	return fmt.Sprintf("%dms", int64(t))
}

// KeyGroup is one of the fixed number of partitions of a keyed edge. All
// elements of a key are in one group.
type KeyGroup uint16

// Unkeyed is the group of elements on an edge that is not partitioned.
const Unkeyed KeyGroup = math.MaxUint16

// Header is what stands before a value on the wire. Its slices alias the
// bytes it was cut from.
type Header struct {
	// Timestamp is the element's event time.
	Timestamp EventTime
	// Windows holds the encoded windows, back to back.
	Windows []byte
	// NumWindows says how many windows there are; more than one means that the
	// element stands for one copy in each.
	NumWindows int
	// Pane holds the pane byte, its indices and the metadata it announces.
	Pane []byte
}

// Number names a block in its job from when it is queued for a stage until it has
// been consumed. 0 is none.
type Number uint64

// Block is an immutable run of encoded windowed values, back to back and
// each whole.
type Block struct {
	// Number is 0 as long as the block is not queued.
	Number Number
	// Data holds the elements, if they are in memory. Nobody may write to it once
	// the block is made. Nil says that they have to be loaded before they can be
	// looked at: see InMemory.
	Data []byte
	// Stored is where they lie on disk, whether they are in memory or not; nil if
	// they are not there.
	Stored Stored
	// Count is the number of elements.
	Count int
	// MinTime is the smallest timestamp among the elements.
	MinTime EventTime
	// MinEnd is the earliest end (maximum timestamp) of a window of an element, where
	// the writer was asked for it. Elements may be later than their windows.
	MinEnd EventTime
	// Window is the encoded window of all elements, where the edge is partitioned
	// by window. The global window has no bytes.
	Window []byte
	// Pages are the values that elements of the block refer to by token
	// because they were too large to stand in it. They live as long as the
	// block does.
	Pages []*Page
}

// Chunk is a run of bytes in memory, on disk, or both. It is immutable.
type Chunk struct {
	// Data holds the bytes, if they are in memory. Nobody may write to it.
	Data []byte
	// Stored is where they lie on disk; nil if they are not there.
	Stored Stored
}

// Place says where bytes lie on disk, so that another process finds them.
type Place struct {
	// File is the number of the file, Offset where in it they begin.
	File, Offset uint64
	// Bytes is how many they take in the file, Size how many they are.
	Bytes, Size uint32
}

// Stored is a run of bytes on disk, which are there as long as something
// refers to it. It may be used from any goroutine.
type Stored interface {
	// Size is the number of bytes.
	Size() int
	// Load reads them into memory of the caller's. An error says that they
	// cannot be read, or are not what was written.
	Load() ([]byte, error)
	// Place says where they are. An error says that their file has no name: no
	// other process could find them.
	Place() (Place, error)
}

// OnDisk says that the bytes are on disk and not in memory.
func (c *Chunk) OnDisk() bool { return c.Data == nil && c.Stored != nil }

// Parted is what was stored in parts that can be loaded by themselves.
type Parted interface {
	Stored
	// Parts is the number of parts, at least 1, and PartSize the bytes of one.
	Parts() int
	PartSize(i int) int
	// LoadParts appends the parts from one on and before another to dst.
	LoadParts(dst []byte, from, to int) ([]byte, error)
}

// Size is the number of bytes of the chunk, wherever they are.
func (c *Chunk) Size() int {
	if c.OnDisk() {
		return c.Stored.Size()
	}
	return len(c.Data)
}

// Load returns the bytes of the chunk.
func (c *Chunk) Load() ([]byte, error) {
	if c.OnDisk() {
		return c.Stored.Load()
	}
	return c.Data, nil
}

// Page is a value kept beside the block that refers to it. Its data is a run
// of encoded values in chunks, each whole, that the SDK reads one by one.
type Page struct {
	// Token names the page within its job; it travels inside the element.
	Token string
	// Chunks are the pieces in order.
	Chunks []Chunk
}

// OnDisk says that the elements are on disk and not in memory.
func (b *Block) OnDisk() bool { return b.Data == nil && b.Stored != nil }

// Size is the number of bytes of the elements, wherever they are.
func (b *Block) Size() int {
	c := Chunk{b.Data, b.Stored}
	return c.Size()
}

// Bytes is what the block amounts to, wherever it is: its elements and its
// pages.
func (b *Block) Bytes() int {
	n := b.Size()
	for _, p := range b.Pages {
		for i := range p.Chunks {
			n += p.Chunks[i].Size()
		}
	}
	return n
}

// Resident is the memory that the block and its pages take.
func (b *Block) Resident() int {
	n := cap(b.Data)
	for _, p := range b.Pages {
		for i := range p.Chunks {
			n += cap(p.Chunks[i].Data)
		}
	}
	return n
}

// InMemory returns the block with its elements in memory, whatever its pages.
func (b *Block) InMemory() (Block, error) {
	if !b.OnDisk() {
		return *b, nil
	}
	loaded := *b
	var err error
	if loaded.Data, err = b.Stored.Load(); err != nil {
		return Block{}, err
	}
	return loaded, nil
}
