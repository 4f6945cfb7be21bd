package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Reader has rows, sorted by key. It is safe for concurrent use.
type Reader interface {
	// Rows opens a view of the rows in [from, to), as they are at this moment; no to
	// is no bound. All keys in between begin with those of a cell, which is prefix, or
	// have nothing in common, if that is nil. It takes no I/O.
	Rows(prefix, from, to []byte) (Rows, error)
}

// Table keeps rows on disk, sorted by key. It is safe for concurrent use.
type Table interface {
	Reader
	// Batch makes an empty batch.
	Batch() Batch
	// Close removes the table.
	Close() error
}

// Rows goes through rows. It is used by one goroutine at a time.
type Rows interface {
	// Seek goes to the first row whose key is not below key, Next to the next.
	Seek(key []byte) error
	Next() error
	// Key and Value are those of the row, until it is left. The key is nil
	// behind the last row.
	Key() []byte
	Value() ([]byte, error)
	Close() error
}

// Batch is a list of changes that are made at once, in order.
type Batch interface {
	Set(key, value []byte) error
	Delete(key []byte) error
	// DeleteRange deletes the rows in [from, to).
	DeleteRange(from, to []byte) error
	// Len is the size of the batch in bytes.
	Len() int
	// Commit makes the changes. It may wait for the disk, but not until the
	// changes outlive the process.
	Commit() error
	// Close frees the batch.
	Close() error
}

// rowBytesMax is how large a row gets by joining pieces.
const rowBytesMax = 64 << 10

// errRow reports a row whose key is none.
var errRow = errors.New("malformed key of a row")

// appendCell appends the key of a cell. None is the beginning of another's.
func appendCell(b []byte, number uint32, cell *Cell) []byte {
	b = binary.AppendUvarint(b, uint64(number))
	b = binary.AppendUvarint(b, uint64(len(cell.Key)))
	b = append(b, cell.Key...)
	b = binary.AppendUvarint(b, uint64(len(cell.Window)))
	return append(b, cell.Window...)
}

// CellSize returns how much of the key of a row is that of its cell; all, if it
// is not one.
func CellSize(key []byte) int {
	number, at := binary.Uvarint(key)
	if at <= 0 || number == 0 {
		return len(key)
	}
	for range 2 {
		size, n := binary.Uvarint(key[at:])
		if n <= 0 || size > uint64(len(key)-at-n) {
			return len(key)
		}
		at += n + int(size)
	}
	return at
}

// cellNumber returns the number of the cell's state.
func cellNumber(key string) uint32 {
	var b [binary.MaxVarintLen32]byte
	n, _ := binary.Uvarint(b[:copy(b[:], key)])
	return uint32(n)
}

// Bytes within and behind a name.
const (
	nameEscape = 0x00 // before either of the next two
	nameZero   = 0xff // stands for a zero
	nameEnd    = 0x01
	nameBehind = 0x02 // never written: behind all rows of the name
)

// appendName appends a name so that it sorts as it does by itself.
func appendName(b []byte, name string) []byte {
	for {
		zero := strings.IndexByte(name, 0)
		if zero < 0 {
			return append(b, name...)
		}
		b = append(append(b, name[:zero]...), nameEscape, nameZero)
		name = name[zero+1:]
	}
}

// appendRow appends the rest of the key of a row.
func appendRow(b []byte, name string, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(appendName(b, name), nameEscape, nameEnd), number)
}

// appendBehind appends what is behind all rows of an entry, but before those of
// the next.
func appendBehind(b []byte, name string) []byte {
	return append(appendName(b, name), nameEscape, nameBehind)
}

// readRow reads what appendRow wrote.
func readRow(b []byte) (name []byte, number uint64, err error) {
	if len(b) < 10 || b[len(b)-10] != nameEscape || b[len(b)-9] != nameEnd {
		return nil, 0, fmt.Errorf("%w: %x", errRow, b)
	}
	name, number = b[:len(b)-10], binary.BigEndian.Uint64(b[len(b)-8:])
	if bytes.IndexByte(name, 0) < 0 {
		return name, number, nil
	}
	plain := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		plain = append(plain, name[i])
		if name[i] != nameEscape {
			continue
		}
		if i++; i == len(name) || name[i] != nameZero {
			return nil, 0, fmt.Errorf("%w: %x", errRow, b)
		}
	}
	return plain, number, nil
}

// behind returns what is behind all keys that begin with prefix; nil if that is
// the end of all.
func behind(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			b := bytes.Clone(prefix[:i+1])
			b[i]++
			return b
		}
	}
	return nil
}
