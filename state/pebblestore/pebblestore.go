// Package pebblestore keeps rows in Pebble: those of user state for a cache of
// package state that has grown too large, and all of a job that is to outlive its
// process.
//
// A [Table] is temporary, unless it is said to last: it has no write-ahead log and
// syncs nothing, and its directory is removed when it is closed. What it takes of memory is stated when
// it is opened: the cache of blocks, and the tables in memory that fill up while
// others are being written. Both are small against the job's budget, because the
// cells that are worth it are cached above.
//
// Pebble ends the process if it cannot write. A disk that is full must not end
// more than a job, so Pebble is never told: see [guard].
//
// Rows of a cell have the cell's key as their prefix, which is what the filters
// of the sorted tables know: whether a cell has any row is mostly answered
// without reading one.
package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// Params are the settings of a Table.
type Params struct {
	// Dir is where its files are. The directory is made, and removed at the end
	// with all that is in it, unless the table is to last.
	Dir string
	// Lasting tables have a log, and are opened with what was written before. A
	// commit has outlived the machine when it returns.
	Lasting bool
	// Kind names the layout of keys, which must be the same each time that a
	// lasting table is opened, and Prefix says how much of a key those have in
	// common that are looked for together; default are rows of state.
	Kind   string
	Prefix func(key []byte) int
	// FS is the file system; default the system's.
	FS vfs.FS
	// MemoryBytes is how much memory it may take; default and least 8 MiB.
	MemoryBytes int64
	// Memory and Disk are told what it takes of each; may be nil.
	Memory, Disk *shuffle.Account
}

// Table implements state.Table.
type Table struct {
	params Params
	guard  *guard
	cache  *pebble.Cache
	db     *pebble.DB
	write  *pebble.WriteOptions
}

const (
	memoryBytesMin = 8 << 20
	// memTables is how many tables in memory there are at most: one that fills up,
	// and those that are being written.
	memTables = 3
	// manifestBytes bounds the list of files, of which every snapshot has a copy.
	manifestBytes = 1 << 20
)

// Open makes a table, which is empty unless it is a lasting one: what else is in
// the directory is removed.
func Open(p Params) (*Table, error) {
	if p.FS == nil {
		p.FS = vfs.Default
	}
	if p.Prefix == nil {
		p.Kind, p.Prefix = "gorunner.state.1", state.CellSize
	}
	p.MemoryBytes = max(p.MemoryBytes, memoryBytesMin)
	t := &Table{params: p, guard: newGuard(p.FS, p.Disk), write: pebble.NoSync}
	if p.Lasting {
		t.guard.lasting, t.guard.aside, t.write = true, t.snapshotDir(), pebble.Sync
	}
	if err := t.prepare(); err != nil {
		return nil, err
	}
	t.cache = pebble.NewCache(p.MemoryBytes / 2)
	db, err := pebble.Open(p.Dir, t.options())
	if err = t.check("open", err); err != nil {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		t.cache.Unref()
		return nil, errors.Join(err, t.leave())
	}
	t.db = db
	t.enter(p.MemoryBytes)
	return t, nil
}

// prepare makes the directory.
func (t *Table) prepare() error {
	p := &t.params
	if !p.Lasting {
		if err := p.FS.RemoveAll(p.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return t.wrap("empty directory", err)
		}
	}
	if err := p.FS.MkdirAll(p.Dir, 0o700); err != nil {
		return t.wrap("make directory", err)
	}
	if !p.Lasting {
		return nil
	}
	if err := t.dropSnapshot(); err != nil { // of a process before
		return err
	}
	return t.wrap("look at directory", t.guard.adopt(p.Dir))
}

func (t *Table) options() *pebble.Options {
	comparer := *pebble.DefaultComparer
	comparer.Name = t.params.Kind
	comparer.Split = t.params.Prefix
	o := &pebble.Options{
		Cache:                       t.cache,
		Comparer:                    &comparer,
		DisableWAL:                  !t.params.Lasting,
		FS:                          t.guard,
		FormatMajorVersion:          pebble.FormatNewest,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		Logger:                      logger{t.guard},
		MaxManifestFileSize:         manifestBytes,
		MaxOpenFiles:                256,
		MemTableSize:                uint64(t.params.MemoryBytes / 2 / memTables),
		MemTableStopWritesThreshold: memTables,
		NoSyncOnClose:               !t.params.Lasting,
		DisableTableStats:           true,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
		EventListener: &pebble.EventListener{
			BackgroundError: func(error) {},
			DataCorruption:  func(i pebble.DataCorruptionInfo) { t.guard.fail("read "+i.Path, corrupt(i.Details)) },
		},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 8 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].FilterType = pebble.TableFilter
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return block.FastestCompression }
	}
	return o
}

var errCorrupt = errors.New("not what was written")

// corrupt is errCorrupt with what Pebble says of it.
func corrupt(details error) error {
	if details == nil {
		return errCorrupt
	}
	return fmt.Errorf("%w: %w", errCorrupt, details)
}

// logger drops what Pebble says of its doings.
type logger struct{ guard *guard }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf is called when Pebble finds itself broken, which no disk causes that is
// behind the guard.
func (l logger) Fatalf(format string, args ...any) {
	l.guard.fail("", fmt.Errorf(format, args...))
	panic(fmt.Sprintf("pebble: "+format, args...))
}

// check returns what has failed before, rather than what Pebble made of that.
func (t *Table) check(op string, err error) error {
	if failed := t.guard.err(); failed != nil {
		return failed
	}
	return t.wrap(op, err)
}

func (t *Table) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: rows in %s: %s: %w", shuffle.ErrDisk, t.params.Dir, op, err)
}

func (t *Table) enter(memory int64) {
	if t.params.Memory != nil {
		t.params.Memory.Add(memory)
	}
}

// Rows opens a view of rows.
func (t *Table) Rows(prefix, from, to []byte) (state.Rows, error) {
	r, err := t.open(prefix != nil, from, to)
	if err != nil {
		return nil, err // not a nil *rows in an interface
	}
	return r, nil
}

// open opens a view, in which one may look for what has a prefix in common only.
func (t *Table) open(prefixed bool, from, to []byte) (*rows, error) {
	if to != nil && bytes.Compare(to, from) < 0 {
		to = from // there is nothing; Pebble takes no bounds that are upside down
	}
	it, err := t.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to, UseL6Filters: prefixed})
	if err = t.check("open rows", err); err != nil {
		if it != nil {
			err = errors.Join(err, it.Close())
		}
		return nil, err
	}
	return &rows{table: t, it: it, prefixed: prefixed}, nil
}

// IsCorrupt says whether an error comes from files that are not what was written.
// Once Pebble has said so, every operation fails with errCorrupt.
func IsCorrupt(err error) bool { return errors.Is(err, errCorrupt) || pebble.IsCorruptionError(err) }

// Scan calls f with the rows in [from, to), in order, until it fails. f may keep
// neither key nor value.
func (t *Table) Scan(from, to []byte, f func(key, value []byte) error) (err error) {
	it, err := t.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err = t.check("scan rows", err); err != nil {
		return err
	}
	defer func() {
		if closeErr := it.Close(); err == nil {
			err = t.check("scan rows", closeErr)
		}
	}()
	for more := it.First(); more; more = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), value)
		}
		if err != nil {
			return err
		}
	}
	return t.check("scan rows", it.Error())
}

// Batch makes an empty batch.
func (t *Table) Batch() state.Batch { return &batch{table: t, b: t.db.NewBatch()} }

// Close removes the table, unless it is to last.
func (t *Table) Close() error {
	failed := t.guard.err()
	err := t.db.Close()
	t.cache.Unref()
	t.enter(-t.params.MemoryBytes)
	if failed != nil {
		err = nil // it was said before
	}
	return errors.Join(t.wrap("close", err), t.leave())
}

// leave removes the directory, if the table is temporary.
func (t *Table) leave() error {
	if t.params.Lasting {
		t.guard.forget()
		return nil
	}
	err := t.params.FS.RemoveAll(t.params.Dir)
	t.guard.forget()
	return t.wrap("remove directory", err)
}

// rows implements state.Rows.
type rows struct {
	table    *Table
	it       *pebble.Iterator
	prefixed bool
}

func (r *rows) Seek(key []byte) error {
	seek := r.it.SeekGE
	if r.prefixed {
		seek = r.it.SeekPrefixGE
	}
	if !seek(key) {
		return r.table.check("read", r.it.Error())
	}
	return nil
}

func (r *rows) Next() error {
	if !r.it.Next() {
		return r.table.check("read", r.it.Error())
	}
	return nil
}

func (r *rows) Key() []byte {
	if !r.it.Valid() {
		return nil
	}
	return r.it.Key()
}

func (r *rows) Value() ([]byte, error) {
	value, err := r.it.ValueAndErr()
	return value, r.table.check("read", err)
}

func (r *rows) Close() error { return r.table.check("close rows", r.it.Close()) }

// batch implements state.Batch.
type batch struct {
	table *Table
	b     *pebble.Batch
}

func (b *batch) Set(key, value []byte) error {
	return b.table.check("set row", b.b.Set(key, value, nil))
}

func (b *batch) Delete(key []byte) error { return b.table.check("delete row", b.b.Delete(key, nil)) }

func (b *batch) DeleteRange(from, to []byte) error {
	return b.table.check("delete rows", b.b.DeleteRange(from, to, nil))
}

func (b *batch) Len() int {
	if b.b.Empty() {
		return 0
	}
	return b.b.Len()
}

func (b *batch) Commit() error {
	if err := b.table.guard.err(); err != nil {
		return err
	}
	return b.table.check("write", b.b.Commit(b.table.write))
}

func (b *batch) Close() error { return b.table.check("close batch", b.b.Close()) }
