package state

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gorunner/gorunner/plan"
)

// Name names a state.
type Name struct {
	Transform plan.TransformID
	State     string
}

// kind is what is known of a state.
type kind struct {
	number uint32
	name   Name
	// has are the traits of rows that cells of the state have, or once had; told are
	// those, and the name, of which rows are written or in a commit that was applied.
	has, told atomic.Uint32
}

// The traits of a state. Each is a row of its own, lest commits undo what others
// have said.
const (
	traitName  = iota // it has a name
	traitNamed        // rows of entries other than ""
	traitMany         // rows of entries besides their first
	traits
)

// multiple says that cells may have rows besides the first of the entry "".
func (k *kind) multiple() bool { return k.has.Load()&(1<<traitNamed|1<<traitMany) != 0 }

// traitsOf are the traits, as bits, that a row shows.
func traitsOf(entry string, number uint64) uint32 {
	bits := uint32(1 << traitName)
	if entry != "" {
		bits |= 1 << traitNamed
	}
	if number > 0 {
		bits |= 1 << traitMany
	}
	return bits
}

// names numbers states, from 1.
type names struct {
	mu     sync.RWMutex
	kinds  map[Name]*kind // guarded by mu
	number []*kind        // by number, from 1; nil where there is none; guarded by mu
}

// of returns the state's kind, which may be new.
func (n *names) of(name Name) *kind {
	n.mu.RLock()
	k := n.kinds[name]
	n.mu.RUnlock()
	if k != nil {
		return k
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if k = n.kinds[name]; k == nil {
		k = n.put(uint32(max(len(n.number), 1)), name)
	}
	return k
}

// put enters a state. Its owner is who holds mu, or has made the names.
func (n *names) put(number uint32, name Name) *kind {
	if n.kinds == nil {
		n.kinds = make(map[Name]*kind)
	}
	for len(n.number) <= int(number) {
		n.number = append(n.number, nil)
	}
	k := &kind{number: number, name: name}
	n.kinds[name], n.number[number] = k, k
	return k
}

// at returns the state of a number.
func (n *names) at(number uint32) *kind {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if int(number) >= len(n.number) {
		return nil
	}
	return n.number[number]
}

// Rows of names have the number 0, where other rows have that of a state, then
// that of the state in four bytes and a trait.
const nameRowBytes = 6

// statesMax bounds the number of a state.
const statesMax = 1 << 20

func nameKey(number uint32, trait byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, number), trait)
}

// rows adds rows of traits to a list, by their bits.
func (k *kind) rows(out *Changes, bits uint32) {
	for trait := range byte(traits) {
		if bits&(1<<trait) == 0 {
			continue
		}
		var value []byte
		if trait == traitName {
			value = binary.AppendUvarint(value, uint64(len(k.name.Transform)))
			value = append(append(value, k.name.Transform...), k.name.State...)
		}
		out.Set(nameKey(k.number, trait), value)
	}
}

// readNames reads the names of the states that a table has.
func readNames(t Reader) (*names, error) {
	n := &names{}
	err := eachRow(t, []byte{0}, []byte{1}, func(key []byte, value func() ([]byte, error)) error {
		if len(key) != nameRowBytes || key[nameRowBytes-1] >= traits {
			return fmt.Errorf("%w: %x", errRow, key)
		}
		number, trait := binary.BigEndian.Uint32(key[1:]), key[nameRowBytes-1]
		if number == 0 || number > statesMax {
			return fmt.Errorf("%w: state %d", errRow, number)
		}
		k := n.at(number)
		if trait == traitName {
			v, err := value()
			if err != nil {
				return err
			}
			transform, state, ok := cutString(v)
			if !ok {
				return fmt.Errorf("%w: name of state %d", errRow, number)
			}
			k = n.put(number, Name{plan.TransformID(transform), string(state)})
		}
		if k == nil {
			return fmt.Errorf("%w: state %d has no name", errRow, number)
		}
		k.has.Or(1 << trait)
		k.told.Or(1 << trait)
		return nil
	})
	return n, err
}
