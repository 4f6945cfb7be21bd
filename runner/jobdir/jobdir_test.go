package jobdir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newDir(t *testing.T) (Dir, *Job, *Life) {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	j := &Job{
		ID: "job-1", Name: "Count!", Created: now, Durability: "local", Options: []byte(`{"a":1}`), Token: "t",
		Artifacts: map[string][]Artifact{"env": {{Digest: "d", Info: []byte{1}}}}, Pipeline: []byte{0, 1, 2},
	}
	l := &Life{Changes: []Change{{Seq: 1, State: "STOPPED", Time: now}}}
	d, err := Create(filepath.Join(t.TempDir(), j.ID), j, l)
	if err != nil {
		t.Fatal(err)
	}
	return d, j, l
}

func TestWhatIsWrittenIsFound(t *testing.T) {
	d, j, l := newDir(t)
	d, err := Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	gotJob, err := d.Job()
	if diff := cmp.Diff(j, gotJob); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	l.Changes = append(l.Changes, Change{Seq: 2, State: "FAILED", Why: []string{"a\nb"}})
	if err := errors.Join(d.SetLife(l), d.SetReport(map[string]int{"n": 1})); err != nil {
		t.Fatal(err)
	}
	gotLife, err := d.Life()
	if diff := cmp.Diff(l, gotLife); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	var report map[string]int
	if err := d.Report(&report); err != nil || report["n"] != 1 {
		t.Errorf("%v, %v", report, err)
	}
	if _, err := Create(d.Path(), j, l); !errors.Is(err, os.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNoJob) {
		t.Errorf("no job: %v", err)
	}
}

// TestDamageIsFound cuts each file off at each byte, and flips each bit.
func TestDamageIsFound(t *testing.T) {
	d, _, _ := newDir(t)
	reads := map[string]func() error{
		fileJob:  func() error { _, err := d.Job(); return err },
		fileLife: func() error { _, err := d.Life(); return err },
	}
	for name, read := range reads {
		path := filepath.Join(d.Path(), name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		check := func(data []byte, what string, at int) {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			err := read()
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s %s at %d: %v", name, what, at, err)
			}
		}
		for i := range whole {
			check(whole[:i], "cut", i)
			flipped := append([]byte{}, whole...)
			flipped[i] ^= 1 << (i % 8)
			check(flipped, "flipped", i)
		}
	}
	// The directory of another job.
	moved := filepath.Join(t.TempDir(), "job-2")
	other, _, _ := newDir(t)
	if err := os.Rename(other.Path(), moved); err != nil {
		t.Fatal(err)
	}
	if _, err := (Dir{moved}).Job(); !errors.Is(err, ErrDamaged) {
		t.Errorf("of another job: %v", err)
	}
}

func TestMessages(t *testing.T) {
	d, _, _ := newDir(t)
	want := []Message{{Seq: 3, Text: "one\ntwo", Importance: 2}, {Seq: 4, Text: "three"}, {Seq: 5, Text: "four"}}
	log := d.Messages()
	for i := range want {
		if err := log.Append(&want[i]); err != nil {
			t.Fatal(err)
		}
	}
	defer log.Close()
	expect := func(when string, want []Message, wantDamaged int) {
		t.Helper()
		got, damaged, err := d.Messages().Read()
		if diff := cmp.Diff(want, got); diff != "" || damaged != wantDamaged || err != nil {
			t.Errorf("%s: %d damaged, %v %s", when, damaged, err, diff)
		}
	}
	expect("written", want, 0)
	path := filepath.Join(d.Path(), fileMessages)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spoil(data[:len(data)-3])
	expect("torn", want[:2], 0)
	if err := log.Append(&want[2]); err != nil { // goes on behind the last whole line
		t.Fatal(err)
	}
	expect("gone on", want, 0)
	data[12] ^= 1
	spoil(data)
	expect("flipped", want[1:], 1)
	if err := log.Replace(want[2:]); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(&want[0]); err != nil {
		t.Fatal(err)
	}
	expect("replaced", []Message{want[2], want[0]}, 0)
}

func TestClear(t *testing.T) {
	d, _, l := newDir(t)
	for _, name := range []string{"rows", "segments", "worker-1", dirDead} {
		if err := os.MkdirAll(filepath.Join(d.Path(), name, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.SetLife(l), d.SetReport(1), d.Clear()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(d.Path())
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{dirDead, fileJob, fileLife, fileReport}, names); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
