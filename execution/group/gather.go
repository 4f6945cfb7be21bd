package group

import (
	"bytes"
	"context"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/windowing"
)

// gatherer merges the windows of keys whose records come in order: it keeps some
// whole keys, merges their windows, and passes on what they have become.
type gatherer struct {
	merge MergeFunc
	room  *room
	sizes runSizes
	emit  func(*record) error

	keys    []gatheredKey
	windows int
	// chunks hold the small values, the last of which is being filled.
	chunks []*element.Chunk
	buffer []byte
	// held counts what is kept in memory.
	held int
}

type gatheredKey struct {
	key     []byte
	records []record
}

// windowsMax is how many windows are merged at a time, unless a single key has
// more.
const windowsMax = 4096

// add takes in the next record.
func (g *gatherer) add(ctx context.Context, r *record) error {
	n := len(g.keys)
	if n == 0 || !bytes.Equal(g.keys[n-1].key, r.key) {
		if g.windows >= windowsMax || len(g.chunks) > 1 {
			if err := g.flush(ctx); err != nil {
				return err
			}
		}
		g.keys = append(g.keys, gatheredKey{key: bytes.Clone(r.key)})
		n = len(g.keys)
	}
	kept, err := g.keep(r)
	if err != nil {
		return err
	}
	k := &g.keys[n-1]
	k.records = append(k.records, kept)
	g.windows++
	return nil
}

// keep copies what the record refers to only until the next.
func (g *gatherer) keep(r *record) (record, error) {
	kept := *r
	kept.key, kept.window = nil, bytes.Clone(r.window)
	kept.values.pieces = nil
	for i := range r.values.pieces {
		p := r.values.pieces[i]
		if p.chunk != nil {
			chunk := *p.chunk
			g.room.add(len(chunk.Data))
			g.held += len(chunk.Data)
			p.chunk = &chunk
			kept.values.pieces = append(kept.values.pieces, p)
			continue
		}
		p, err := g.put(p.data)
		if err != nil {
			return record{}, err
		}
		kept.values.pieces = append(kept.values.pieces, p)
	}
	return kept, nil
}

// put puts small values into a chunk.
func (g *gatherer) put(data []byte) (piece, error) {
	if len(g.buffer) > 0 && len(g.buffer)+len(data) > g.sizes.frame {
		if err := g.seal(); err != nil {
			return piece{}, err
		}
	}
	if len(g.buffer) == 0 {
		g.chunks = append(g.chunks, new(element.Chunk))
	}
	start := len(g.buffer)
	g.buffer = append(g.buffer, data...)
	return piece{chunk: g.chunks[len(g.chunks)-1], start: start, end: len(g.buffer)}, nil
}

// seal ends the chunk that is being filled.
func (g *gatherer) seal() error {
	if len(g.buffer) == 0 {
		return nil
	}
	chunk, next, err := g.room.seal(g.buffer)
	*g.chunks[len(g.chunks)-1] = chunk
	g.buffer = next
	g.held += len(chunk.Data)
	return err
}

// flush merges the windows of the keys and passes on the records.
func (g *gatherer) flush(ctx context.Context) error {
	if err := g.seal(); err != nil || len(g.keys) == 0 {
		return err
	}
	sets := make([][][]byte, len(g.keys))
	for i, k := range g.keys {
		for _, r := range k.records {
			sets[i] = append(sets[i], r.window)
		}
	}
	merged, err := g.merge(ctx, sets)
	if err != nil {
		return err
	}
	for i := range g.keys {
		if err := g.pass(&g.keys[i], merged[i]); err != nil {
			return err
		}
	}
	g.room.add(-g.held)
	g.keys, g.windows, g.chunks, g.held = nil, 0, nil, 0
	return nil
}

// pass passes on the records of a key whose windows were merged.
func (g *gatherer) pass(k *gatheredKey, merged []windowing.Merged) error {
	byWindow := make(map[string]*record, len(k.records))
	for i := range k.records {
		byWindow[string(k.records[i].window)] = &k.records[i]
	}
	for _, m := range merged {
		one := *byWindow[string(m.From[0])]
		one.key, one.window = k.key, m.Window
		for _, from := range m.From[1:] {
			one.absorb(byWindow[string(from)])
		}
		if err := g.emit(&one); err != nil {
			return err
		}
	}
	return nil
}

// absorb adds what another record has.
func (r *record) absorb(o *record) {
	r.earliest, r.latest = min(r.earliest, o.earliest), max(r.latest, o.latest)
	r.values.pieces = append(r.values.pieces, o.values.pieces...)
	r.values.total += o.values.total
	r.values.bytes += o.values.bytes
}
