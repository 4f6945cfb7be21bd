package state

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Names returns the states that a table of a lasting store has cells of, or once
// had, by their numbers.
func Names(t Reader) ([]Name, error) {
	n, err := readNames(t)
	if err != nil {
		return nil, fmt.Errorf("names of states: %w", err)
	}
	var all []Name
	for _, k := range n.number {
		if k != nil {
			all = append(all, k.name)
		}
	}
	return all, nil
}

// Walk calls f with what the cells hold of a lasting store, whose table it is: for
// each entry with its runs of whole values, in order, one call a run. Cells of a
// state come one after the other, those of a key together, and the entries of a
// cell in order. Of states that want refuses nothing is read; nil wants all. f may
// keep the cell and the entry, but not the data.
func Walk(t Reader, want func(Name) bool, f func(cell Cell, entry string, data []byte) error) error {
	n, err := readNames(t)
	if err != nil {
		return fmt.Errorf("names of states: %w", err)
	}
	for _, k := range n.number {
		if k == nil || want != nil && !want(k.name) {
			continue
		}
		if err := k.walk(t, f); err != nil {
			return fmt.Errorf("state %s of %s: %w", k.name.State, k.name.Transform, err)
		}
	}
	return nil
}

// cells returns the range of the rows of a state's cells.
func (k *kind) cells() (from, to []byte) {
	from = binary.AppendUvarint(nil, uint64(k.number))
	return from, behind(from)
}

func (k *kind) walk(t Reader, f func(cell Cell, entry string, data []byte) error) error {
	from, to := k.cells()
	var cell Cell
	var of []byte // the key of the cell
	var entry string
	return eachRow(t, from, to, func(key []byte, value func() ([]byte, error)) error {
		size := CellSize(key)
		name, _, err := readRow(key[size:])
		if err != nil {
			return err
		}
		if of == nil || string(of) != string(key[:size]) {
			of = append(of[:0], key[:size]...)
			if cell, err = k.cell(of); err != nil {
				return err
			}
			entry = string(name)
		} else if entry != string(name) {
			entry = string(name)
		}
		data, err := value()
		if err != nil {
			return err
		}
		return f(cell, entry, data)
	})
}

// cell reads what appendCell wrote.
func (k *kind) cell(key []byte) (Cell, error) {
	c := Cell{Transform: k.name.Transform, State: k.name.State}
	_, n := binary.Uvarint(key)
	encodedKey, rest, ok := cutString(key[max(n, 0):])
	window, rest, more := cutString(rest)
	if !ok || !more || len(rest) > 0 {
		return c, fmt.Errorf("%w: cell %x", errRow, key)
	}
	c.Key, c.Window = string(encodedKey), string(window)
	return c, nil
}

// Rename says what makes the cells of states those of other states: to returns the
// new name, or false for a state that is to be forgotten.
func Rename(t Reader, to func(Name) (now Name, keep bool)) (*Changes, error) {
	n, err := readNames(t)
	if err != nil {
		return nil, fmt.Errorf("names of states: %w", err)
	}
	out := &Changes{}
	taken := make(map[Name]bool)
	for _, k := range n.number {
		if k == nil {
			continue
		}
		now, keep := to(k.name)
		switch {
		case !keep:
			out.DeleteRange(k.cells())
			out.DeleteRange(nameKey(k.number, 0), nameKey(k.number, traits))
			continue
		case taken[now]:
			return nil, fmt.Errorf("%w: state %s of %s", errTwice, now.State, now.Transform)
		}
		taken[now] = true
		if now != k.name {
			(&kind{number: k.number, name: now}).rows(out, 1<<traitName)
		}
	}
	return out, nil
}

var errTwice = errors.New("two states would have the same name")

// eachRow calls f with the rows in [from, to). f keeps no key.
func eachRow(t Reader, from, to []byte, f func(key []byte, value func() ([]byte, error)) error) (err error) {
	rows, err := t.Rows(nil, from, to)
	if err != nil {
		return fmt.Errorf("open rows: %w", err)
	}
	defer func() {
		if closeErr := rows.Close(); err == nil {
			err = closeErr
		}
	}()
	for err = rows.Seek(from); err == nil && rows.Key() != nil; err = rows.Next() {
		if err := f(rows.Key(), rows.Value); err != nil {
			return err
		}
	}
	return err
}
