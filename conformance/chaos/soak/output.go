//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// outputOf returns the lines of all files whose names begin as those of results
// do, and not of what was only ever temporary.
func outputOf(dir string) ([]string, error) {
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && !strings.HasPrefix(d.Name(), "out"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasPrefix(d.Name(), "out"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
		return nil
	})
	return lines, err
}

// shown is how many differences are shown of each kind.
const shown = 3

// compare compares sorted lines, each as often as it is there.
func compare(want, got []string) error {
	if slices.Equal(want, got) {
		return nil
	}
	count := map[string]int{}
	for _, l := range got {
		count[l]++
	}
	for _, l := range want {
		count[l]--
	}
	var missing, more []string
	for l, n := range count {
		if len(l) > 200 {
			l = l[:200] + "…"
		}
		switch {
		case n < 0:
			missing = append(missing, l)
		case n > 0:
			more = append(more, l)
		}
	}
	slices.Sort(missing)
	slices.Sort(more)
	return fmt.Errorf("output differs: %d lines of %d are missing, such as %q; %d are too many, such as %q",
		len(missing), len(want), missing[:min(shown, len(missing))], len(more), more[:min(shown, len(more))])
}
