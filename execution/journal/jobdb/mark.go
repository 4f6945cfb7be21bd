package jobdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gorunner/gorunner/execution/journal"
)

// mark is a file that says, beside the rows, how far they have come on disk. The
// end of a log that was damaged looks like the end of one that was being written:
// the mark tells that there was more. It is not synced, so after the end of the
// machine it may say less than was there, but never more.
type mark struct{ file vfs.File }

const (
	markName  = "durable"
	markBytes = 12 // number and checksum, big endian
)

// readMark returns the number that a process before has left; 0 if there is none
// that can be trusted.
func readMark(fs vfs.FS, path string) (journal.Seq, error) {
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var b [markBytes]byte
	_, err = io.ReadFull(f, b[:])
	torn := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && sumOfMark(b[:]) != binary.BigEndian.Uint32(b[8:])
	if torn {
		b, err = [markBytes]byte{}, nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("read mark %s: %w", path, err)
	}
	return journal.Seq(binary.BigEndian.Uint64(b[:])), nil
}

func sumOfMark(b []byte) uint32 { return crc32.Checksum(b[:8], crc32.MakeTable(crc32.Castagnoli)) }

// set notes that the rows have come so far.
func (m mark) set(seq journal.Seq) error {
	var b [markBytes]byte
	binary.BigEndian.PutUint64(b[:], uint64(seq))
	binary.BigEndian.PutUint32(b[8:], sumOfMark(b[:]))
	_, err := m.file.WriteAt(b[:], 0)
	return err
}

func (m mark) close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// openMark checks the rows against the mark. It is overwritten in place: were it
// emptied first, a process that ends before it has written would leave a mark that
// says nothing.
func (d *DB) openMark() error {
	fs := d.params.FS
	path := fs.PathJoin(d.params.Dir, markName)
	was, err := readMark(fs, path)
	if err != nil {
		return err
	}
	if was > d.about.seq {
		return fmt.Errorf("%w: they end with commit %d, and there was commit %d", errRowsLost, d.about.seq, was)
	}
	if d.mark.file, err = fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified); err != nil {
		return fmt.Errorf("open mark %s: %w", path, err)
	}
	return d.mark.set(d.about.seq)
}

// errRowsLost says that rows are gone that were on disk.
var errRowsLost = errors.New("the log of rows is damaged")
