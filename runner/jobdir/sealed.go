package jobdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

// A sealed file is a line and a value in JSON:
//
//	gorunner.KIND.VERSION CHECKSUM BYTES
//	{ … }
//
// The checksum is the CRC-32C of the value, in hexadecimal.

// version is that of all files of a directory.
const version = 1

// The reasons not to read a file.
var (
	// ErrDamaged says that a file is not what was written.
	ErrDamaged = errors.New("the file is damaged")
	// ErrVersion says that another version of the runner has written it.
	ErrVersion = errors.New("the file was written by another version")
)

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

func seal(kind string, v any) ([]byte, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte(headOf(kind, value)+"\n"), value...), nil
}

func headOf(kind string, value []byte) string {
	return fmt.Sprintf("gorunner.%s.%d %08x %d", kind, version, checksum(value), len(value))
}

func unseal(kind string, data []byte, v any) error {
	head, value, _ := bytes.Cut(data, []byte("\n"))
	want := headOf(kind, value)
	got, _, _ := strings.Cut(string(head), " ")
	if name, _, _ := strings.Cut(want, " "); got != name {
		return fmt.Errorf("%w: it is %.40q, not %q", ErrVersion, got, name)
	}
	if string(head) != want {
		return fmt.Errorf("%w: it says %.80q, and is %q", ErrDamaged, head, want)
	}
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

func readSealed(path, kind string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := unseal(kind, data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeSealed(path, kind string, v any) error {
	data, err := seal(kind, v)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return replace(path, data)
}

// newSuffix ends the name of a file that is to replace another.
const newSuffix = ".new"

// replace makes data the content of a file, which has the old one or the new
// whatever happens.
func replace(path string, data []byte) error {
	f, err := os.OpenFile(path+newSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+newSuffix, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path+newSuffix))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory last.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
