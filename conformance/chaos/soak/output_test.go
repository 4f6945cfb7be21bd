//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOutput(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"out-0-of-2": "b\na\n", "out/output-1": "c", "out-1-of-2": "a\n",
		"temporary-7": "no", "beam-temp-out/x": "no", ".temp/out-3": "no",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := outputOf(dir)
	slices.Sort(got)
	if want := []string{"a", "a", "b", "c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestCompare(t *testing.T) {
	want := []string{"a", "a", "b", "c"}
	if err := compare(want, want); err != nil {
		t.Error(err)
	}
	err := compare(want, []string{"a", "b", "c", "c", "d"})
	if err == nil || !strings.Contains(err.Error(), `1 lines of 4 are missing, such as ["a"]; 2 are too many, such as ["c" "d"]`) {
		t.Errorf("got %v", err)
	}
}
