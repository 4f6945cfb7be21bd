// Command mutate breaks the protocol of commits in ways that somebody might, one at
// a time, and checks that the tests which are named for it notice.
//
//	go run ./conformance/chaos/mutate                # all of them
//	go run ./conformance/chaos/mutate -only=sync     # those with that in their names
//
// The list is mutations.txt: a name, the file, lines to be replaced ("-") by others
// ("+"), as often as need be, and the arguments of "go test" for what is to fail. No
// file is changed: the compiler is given others in their place.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

//go:embed mutations.txt
var list string

// mutation is a way to break the protocol.
type mutation struct {
	name, file string
	hunks      []hunk
	test       []string
}

type hunk struct{ before, after string }

func main() {
	only := flag.String("only", "", "part of the names of the mutations to try")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	all, err := parse(list)
	if err != nil {
		return err
	}
	var failed []error
	for _, m := range all {
		if !strings.Contains(m.name, only) {
			continue
		}
		noticed, err := m.try(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // the list is not up to date
			fmt.Println("BROKEN  ", m.name)
			failed = append(failed, fmt.Errorf("%s: %w", m.name, err))
		case noticed:
			fmt.Println("noticed ", m.name)
		default:
			fmt.Println("SURVIVED", m.name)
			failed = append(failed, fmt.Errorf("%s: nobody notices", m.name))
		}
	}
	return errors.Join(failed...)
}

// parse reads a list.
func parse(list string) ([]mutation, error) {
	var all []mutation
	last := byte(0) // how the line before began
	for i, line := range strings.Split(list, "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		if kind != "mutation" && len(all) == 0 && kind != "" && kind != "#" {
			return nil, fmt.Errorf("line %d: no mutation has begun", i+1)
		}
		switch kind {
		case "", "#":
		case "mutation":
			all = append(all, mutation{name: rest})
		case "file":
			all[len(all)-1].file = rest
		case "test":
			all[len(all)-1].test = strings.Fields(rest)
		case "-", "+":
			m := &all[len(all)-1]
			if kind == "-" && last != '-' {
				m.hunks = append(m.hunks, hunk{})
			}
			if len(m.hunks) == 0 {
				return nil, fmt.Errorf("line %d: nothing is replaced", i+1)
			}
			h := &m.hunks[len(m.hunks)-1]
			if kind == "-" {
				h.before += rest + "\n"
			} else {
				h.after += rest + "\n"
			}
		default:
			return nil, fmt.Errorf("line %d: %q", i+1, line)
		}
		last = (kind + " ")[0]
	}
	return all, nil
}

// apply returns the text with the mutation.
func (m *mutation) apply(text string) (string, error) {
	for _, h := range m.hunks {
		if n := strings.Count(text, h.before); n != 1 {
			return "", fmt.Errorf("%s has %d times, not once:\n%s", m.file, n, h.before)
		}
		text = strings.Replace(text, h.before, h.after, 1)
	}
	return text, nil
}

// try runs the tests with the mutation. They must be good without it, which others
// see to, and must compile with it.
func (m *mutation) try(ctx context.Context) (noticed bool, err error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return false, err
	}
	mutant, err := m.apply(string(text))
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	original, err := filepath.Abs(m.file)
	if err != nil {
		return false, err
	}
	file, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: file}})
	if err != nil {
		return false, err
	}
	if err := errors.Join(os.WriteFile(file, []byte(mutant), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return false, err
	}
	out, err := exec.CommandContext(ctx, "go", append([]string{"test", "-tags=invariants", "-vet=off", "-timeout=5m", "-overlay=" + overlay}, m.test...)...).CombinedOutput()
	switch {
	case err == nil:
		return false, nil
	case strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "no tests to run"):
		return false, fmt.Errorf("go test %v: %w\n%s", m.test, err, out)
	}
	return true, nil
}
