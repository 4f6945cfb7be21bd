package journal

import (
	"encoding/binary"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/metrics"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// Version is that of the format of rows.
const Version = 1

// The kinds of rows, by the first byte of their keys. Numbers in keys are
// big-endian, so that rows of a stage are in order; elsewhere they are varints,
// and strings follow their size.
const (
	rowBlock  = 'b' // number
	rowTimer  = 't' // stage, family, key, tag, window
	rowParked = 'p' // stage, domain, group
	rowSide   = 'e' // edge, number
	rowShown  = 'v' // stage, window
	rowStage  = 'w' // stage
	rowScript = 'x' // script
	rowMetric = 'm' // metrics.KeyOf
	rowDrain  = 'd' // nothing
)

// Parts of a block's row.
const (
	hasData   = 1 << iota // in the row; otherwise it is stored
	hasDue                // waits
	hasWindow             // is partitioned by window
	hasPages
	isTruncated
	isGrouped // has a key group
)

// Changes says which rows the commit changes, and how. Metrics are left out: they
// are to be added to what is there, see [Metric]. So are rows of state, which have
// a place of their own.
func (c *Commit) Changes() (*state.Changes, error) {
	out := &state.Changes{}
	for i := range c.Queued {
		if err := c.Queued[i].put(out); err != nil {
			return nil, err
		}
	}
	for _, n := range c.Consumed {
		out.Delete(blockKey(n))
	}
	for i := range c.Timers {
		c.Timers[i].put(out)
	}
	for i := range c.Parked {
		c.Parked[i].put(out)
	}
	for i := range c.Side {
		if err := c.Side[i].put(out); err != nil {
			return nil, err
		}
	}
	for _, e := range c.SideDone {
		out.DeleteRange(appendNumber32([]byte{rowSide}, int(e)), appendNumber32([]byte{rowSide}, int(e)+1))
	}
	for i := range c.Shown {
		if err := c.Shown[i].put(out); err != nil {
			return nil, err
		}
	}
	for i := range c.Stages {
		c.Stages[i].put(out)
	}
	for _, s := range c.Scripts {
		out.Set(appendNumber32([]byte{rowScript}, s.Index),
			binary.AppendVarint(binary.AppendVarint(binary.AppendUvarint(nil, uint64(s.Played)), int64(s.Epoch)), int64(s.Clock)))
	}
	if c.Draining {
		out.Set([]byte{rowDrain}, nil)
	}
	return out, nil
}

// Bytes is about how large the rows of the commit are.
func (c *Commit) Bytes() int {
	n := c.State.Bytes()
	for i := range c.Queued {
		n += rowBytes + inlineSize(&c.Queued[i].Block)
	}
	for i := range c.Side {
		n += rowBytes + inlineSize(&c.Side[i].Block)
	}
	for i := range c.Timers {
		n += rowBytes + len(c.Timers[i].Data)
	}
	for i := range c.Shown {
		n += rowBytes
		for j := range c.Shown[i].Chunks {
			n += inlineChunk(&c.Shown[i].Chunks[j])
		}
	}
	return n + rowBytes*(len(c.Consumed)+len(c.Parked)+len(c.Stages)+len(c.Metrics))
}

// rowBytes is about what a row takes besides its data.
const rowBytes = 64

func blockKey(n element.Number) []byte {
	return binary.BigEndian.AppendUint64([]byte{rowBlock}, uint64(n))
}

func appendNumber32(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

func (b *Block) put(out *state.Changes) error {
	var flags byte
	row := make([]byte, 1, 64+inlineSize(&b.Block))
	row = binary.AppendUvarint(row, uint64(b.Stage))
	if b.Group != element.Unkeyed {
		flags |= isGrouped
		row = binary.AppendUvarint(row, uint64(b.Group))
	}
	if b.Due > element.MinTime {
		flags |= hasDue
		row = binary.AppendVarint(row, int64(b.Due))
	}
	if b.Truncated {
		flags |= isTruncated
	}
	row, flags, err := appendBlock(row, flags, &b.Block)
	row[0] = flags
	out.Set(blockKey(b.Number), row)
	return err
}

func (b *SideBlock) put(out *state.Changes) error {
	row, flags, err := appendBlock(make([]byte, 1, 64+inlineSize(&b.Block)), 0, &b.Block)
	row[0] = flags
	out.Set(binary.BigEndian.AppendUint64(appendNumber32([]byte{rowSide}, int(b.Edge)), uint64(b.Number)), row)
	return err
}

// inlineSize is what of a block stands in its row.
func inlineSize(b *element.Block) int {
	n := inlineChunk(&element.Chunk{Data: b.Data, Stored: b.Stored})
	for _, p := range b.Pages {
		for i := range p.Chunks {
			n += inlineChunk(&p.Chunks[i])
		}
	}
	return n
}

func inlineChunk(c *element.Chunk) int {
	data, _ := inRow(c.Data, c.Stored)
	return len(data)
}

// inRow returns the data that stands in a row; false if it is on disk.
func inRow(data []byte, s element.Stored) ([]byte, bool) {
	if s == nil {
		return data, true
	}
	if l, ok := s.(*shuffle.Later); ok {
		data := l.Unwritten()
		return data, data != nil
	}
	return nil, false
}

// appendBlock appends what is the same for all blocks.
func appendBlock(row []byte, flags byte, b *element.Block) ([]byte, byte, error) {
	row = binary.AppendUvarint(row, uint64(b.Count))
	row = binary.AppendVarint(binary.AppendVarint(row, int64(b.MinTime)), int64(b.MinEnd))
	if b.Window != nil {
		flags |= hasWindow
		row = appendText(row, string(b.Window))
	}
	if data, ok := inRow(b.Data, b.Stored); ok {
		flags |= hasData
		row = appendBytes(row, data)
	} else {
		var err error
		if row, err = appendPlace(row, b.Stored); err != nil {
			return row, flags, err
		}
	}
	if len(b.Pages) == 0 {
		return row, flags, nil
	}
	row = binary.AppendUvarint(row, uint64(len(b.Pages)))
	for _, p := range b.Pages {
		var err error
		if row, err = appendChunks(appendText(row, p.Token), p.Chunks); err != nil {
			return row, flags, err
		}
	}
	return row, flags | hasPages, nil
}

// appendChunks appends each chunk as 0 and its data, or 1 and its place.
func appendChunks(row []byte, chunks []element.Chunk) ([]byte, error) {
	row = binary.AppendUvarint(row, uint64(len(chunks)))
	for i := range chunks {
		if data, ok := inRow(chunks[i].Data, chunks[i].Stored); ok {
			row = appendBytes(append(row, 0), data)
			continue
		}
		var err error
		if row, err = appendPlace(append(row, 1), chunks[i].Stored); err != nil {
			return row, err
		}
	}
	return row, nil
}

func appendPlace(row []byte, s element.Stored) ([]byte, error) {
	p, err := s.Place()
	if err != nil {
		return row, err
	}
	row = binary.AppendUvarint(row, p.File)
	row = binary.AppendUvarint(row, p.Offset)
	row = binary.AppendUvarint(row, uint64(p.Bytes))
	return binary.AppendUvarint(row, uint64(p.Size)), nil
}

func (t *Timer) put(out *state.Changes) {
	key := binary.AppendUvarint(appendNumber32([]byte{rowTimer}, int(t.Stage)), uint64(t.Family))
	key = appendText(appendText(appendText(key, t.Key), t.Tag), t.Window)
	if t.Data == nil {
		out.Delete(key)
		return
	}
	row := binary.AppendUvarint([]byte{byte(t.Domain)}, uint64(t.Group))
	row = binary.AppendVarint(binary.AppendVarint(row, int64(t.Fire)), int64(t.Hold))
	row = binary.AppendUvarint(row, uint64(t.Chain))
	out.Set(key, append(row, t.Data...))
}

func (p *Parked) put(out *state.Changes) {
	key := append(appendNumber32([]byte{rowParked}, int(p.Stage)), byte(p.Domain))
	key = binary.BigEndian.AppendUint16(key, uint16(p.Group))
	if p.Count == 0 {
		out.Delete(key)
		return
	}
	row := binary.AppendVarint(binary.AppendVarint(nil, p.Count), int64(p.First))
	out.Set(key, binary.AppendVarint(row, int64(p.Hold)))
}

func (s *Shown) put(out *state.Changes) error {
	key := append(appendNumber32([]byte{rowShown}, int(s.View)), s.Window...)
	if s.Forgotten {
		out.Delete(key)
		return nil
	}
	row, err := appendChunks(binary.AppendUvarint(nil, uint64(s.Count)), s.Chunks)
	out.Set(key, row)
	return err
}

func (s *Stage) put(out *state.Changes) {
	row := []byte{0}
	if s.Finished {
		row[0] = 1
	}
	for _, n := range [...]int64{int64(s.Input), int64(s.Output), int64(s.Reached), s.ElementsIn, s.BytesIn, s.ElementsOut, s.BytesOut} {
		row = binary.AppendVarint(row, n)
	}
	out.Set(appendNumber32([]byte{rowStage}, int(s.ID)), row)
}

// Metric is the row of a metric, with its merged value.
func Metric(in *metrics.Info) (key, value []byte) {
	key = append([]byte{rowMetric}, metrics.KeyOf(in.URN, in.Labels)...)
	value = appendText(appendText(nil, in.URN), in.Type)
	value = binary.AppendUvarint(value, uint64(len(in.Labels)))
	for _, label := range sortedKeys(in.Labels) {
		value = appendText(appendText(value, label), in.Labels[label])
	}
	return key, append(value, in.Payload...)
}
