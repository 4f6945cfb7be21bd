package runner

import "fmt"

// Durability says what a job outlives.
type Durability int

// The levels of durability.
const (
	// None: a job ends with its server.
	None Durability = iota
	// Local: a job outlives the process and the machine's crash, as long as the
	// server's directory is there. A server that is stopped suspends it, and the
	// next one on that directory goes on with it.
	Local
	// Remote: besides, it is copied to objects elsewhere from time to time, and any
	// machine may go on with it.
	Remote
)

// String is the name by which users know it.
func (d Durability) String() string {
	switch d {
	case None:
		return "none"
	case Local:
		return "local"
	case Remote:
		return "remote"
	}
	return fmt.Sprintf("Durability(%d)", int(d))
}

// ParseDurability reads the name of a level.
func ParseDurability(name string) (Durability, error) {
	for _, d := range [...]Durability{None, Local, Remote} {
		if d.String() == name {
			return d, nil
		}
	}
	return None, fmt.Errorf("%q is not a durability: use none, local or remote", name)
}
