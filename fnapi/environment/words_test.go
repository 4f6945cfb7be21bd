package environment

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string
		err  string
	}{
		{line: "", want: nil},
		{line: " \t", want: nil},
		{line: "a b\tc\n", want: []string{"a", "b", "c"}},
		{line: `a 'b c' "d e"f`, want: []string{"a", "b c", "d ef"}},
		{line: `a '' ""`, want: []string{"a", "", ""}},
		{line: `a\ b 'c\d' "\"\\\$\x"`, want: []string{"a b", `c\d`, `"\$\x`}},
		{line: `$HOME *`, want: []string{"$HOME", "*"}},
		{line: "wörd 'ß'", want: []string{"wörd", "ß"}},
		{line: `a 'b`, err: "quote ' is not closed"},
		{line: `a "b`, err: `quote " is not closed`},
		{line: `a\`, err: "backslash"},
	} {
		got, err := split(test.line)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("split(%q): error %v, want %q", test.line, err, test.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("split(%q) = %q, %v; want %q", test.line, got, err, test.want)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(`a 'b c' "d\"e" f\ g`)
	f.Fuzz(func(t *testing.T, line string) {
		words, err := split(line)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		again, err := split(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(again, words) {
			t.Errorf("split(%q) = %q, and quoted: %q, %v", line, words, again, err)
		}
	})
}

func TestProgram(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("with blank", 0o700); err != nil {
		t.Fatal(err)
	}
	spaced := write(t, dir, "with blank/boot", "#!/bin/sh\n")
	plain := write(t, dir, "boot", "#!/bin/sh\n")
	if err := os.WriteFile("data", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, test := range []struct {
		line, path string
		args       []string
		err        string
	}{
		{line: spaced, path: spaced},
		{line: "./boot", path: plain},
		{line: "boot", path: plain},
		{line: "boot -m 'a b'", path: plain, args: []string{"-m", "a b"}},
		{line: "'" + spaced + "' x", path: spaced, args: []string{"x"}},
		{line: filepath.Join(dir, "none"), err: "no such file"},
		{line: filepath.Join(dir, "data"), err: "permission denied"},
		{line: "nothing like it", err: "not found"},
		{line: "boot 'x", err: "not closed"},
	} {
		path, args, err := program(test.line)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "command") {
				t.Errorf("program(%q): error %v, want %q", test.line, err, test.err)
			}
			continue
		}
		if err != nil || path != test.path || !slices.Equal(args, test.args) {
			t.Errorf("program(%q) = %q, %q, %v; want %q, %q", test.line, path, args, err, test.path, test.args)
		}
	}
}
