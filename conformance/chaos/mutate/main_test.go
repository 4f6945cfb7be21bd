package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutationsApply: each mutation fits the code as it is, and says which tests
// notice it. Whether they do is for the command to say.
func TestMutationsApply(t *testing.T) {
	all, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the list is empty")
	}
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			if len(m.hunks) == 0 || len(m.test) == 0 {
				t.Fatalf("%d hunks, and is noticed by %q", len(m.hunks), m.test)
			}
			text, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(m.file)))
			if err != nil {
				t.Fatal(err)
			}
			mutant, err := m.apply(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if mutant == string(text) {
				t.Error("changes nothing")
			}
			for _, arg := range m.test {
				if dir, ok := strings.CutPrefix(arg, "./"); ok {
					if _, err := os.Stat(filepath.Join("..", "..", "..", dir)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
