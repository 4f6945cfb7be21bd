package pebblestore

import "github.com/gorunner/gorunner/state"

// Under returns the rows whose keys begin with a byte, without it.
func (t *Table) Under(first byte) state.Reader { return under{t, first} }

type under struct {
	table *Table
	first byte
}

func (u under) Rows(prefix, from, to []byte) (state.Rows, error) {
	upper := []byte{u.first + 1}
	if to != nil {
		upper = u.key(to)
	}
	r, err := u.table.open(prefix != nil, u.key(from), upper)
	if err != nil {
		return nil, err
	}
	return &rowsUnder{rows: r, key: []byte{u.first}}, nil
}

func (u under) key(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), u.first), key...)
}

type rowsUnder struct {
	*rows
	key []byte
}

func (r *rowsUnder) Seek(key []byte) error {
	r.key = append(r.key[:1], key...)
	return r.rows.Seek(r.key)
}

func (r *rowsUnder) Key() []byte {
	if key := r.rows.Key(); key != nil {
		return key[1:]
	}
	return nil
}
