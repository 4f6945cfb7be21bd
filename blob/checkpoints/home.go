package checkpoints

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/gorunner/gorunner/execution/checkpoint"
)

// Home is what a job's directory says of where it has come from.
type Home struct {
	// Lineage is that of all processes that go on with what is in the directory.
	Lineage string
	// Restored is the entry from which the directory was made; 0 if it was not.
	Restored checkpoint.Slot
}

// homeName is the name of its file.
const homeName = "lineage"

// OpenHome reads what a directory says, or begins a lineage if it says nothing.
func OpenHome(dir string) (Home, error) {
	b, err := os.ReadFile(filepath.Join(dir, homeName))
	if errors.Is(err, os.ErrNotExist) {
		h := Home{Lineage: NewLineage()}
		return h, h.write(dir)
	}
	if err != nil {
		return Home{}, err
	}
	h, err := parseHome(string(b))
	if err != nil {
		return h, fmt.Errorf("%s: %w", filepath.Join(dir, homeName), err)
	}
	return h, nil
}

func (h Home) text() string {
	body := fmt.Sprintf("gorunner-lineage 1 %s %d", h.Lineage, h.Restored)
	return fmt.Sprintf("%s %016x\n", body, xxhash.Sum64String(body))
}

func parseHome(text string) (Home, error) {
	var h Home
	var version int
	if _, err := fmt.Sscanf(text, "gorunner-lineage %d %s %d", &version, &h.Lineage, &h.Restored); err != nil || h.text() != text || strings.Contains(h.Lineage, "/") {
		return Home{}, checkpoint.ErrDamaged
	}
	return h, nil
}

// write says it, for good.
func (h Home) write(dir string) (err error) {
	path := filepath.Join(dir, homeName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(h.text())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}
