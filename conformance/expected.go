package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Expected is the list of how the tests of a suite end in one mode.
type Expected struct {
	// header is the comment that the file begins with.
	header []string
	tests  map[string]expectation
}

type expectation struct {
	verdict Verdict
	reason  string
}

// LoadExpected reads the list at path. A list that does not exist is empty.
func LoadExpected(path string) (*Expected, error) {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read expected list: %w", err)
	}
	e, err := ParseExpected(text)
	if err != nil {
		return nil, fmt.Errorf("expected list %s: %w", path, err)
	}
	return e, nil
}

// ParseExpected parses the text of a list. Lines that are empty or begin with
// # are comments; those before the first test are kept by Format.
func ParseExpected(text []byte) (*Expected, error) {
	e := &Expected{tests: map[string]expectation{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			if len(e.tests) == 0 {
				e.header = append(e.header, line)
			}
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		verdict, err := parseVerdict(word)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		name, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		switch _, twice := e.tests[name]; {
		case name == "":
			return nil, fmt.Errorf("line %d names no test: %q", n, line)
		case twice:
			return nil, fmt.Errorf("line %d names %s a second time", n, name)
		case verdict == Pass && reason != "":
			return nil, fmt.Errorf("line %d gives a reason for a test that passes: %q", n, line)
		case verdict != Pass && reason == "":
			return nil, fmt.Errorf("line %d gives no reason: %q", n, line)
		}
		e.tests[name] = expectation{verdict, strings.TrimSpace(reason)}
	}
	return e, lines.Err()
}

// Diff returns one line for each test that did not end as expected, sorted by
// name; it is empty when outcomes and list agree.
func (e *Expected) Diff(outcomes []Outcome) []string {
	var diff []string
	seen := map[string]bool{}
	for _, o := range outcomes {
		want, known := e.tests[o.Name]
		switch {
		case seen[o.Name]:
			diff = append(diff, fmt.Sprintf("%s: ran twice", o.Name))
		case !known:
			diff = append(diff, fmt.Sprintf("%s: is not in the list, got %v %s", o.Name, o.Verdict, o.Reason))
		case want.verdict != o.Verdict:
			diff = append(diff, fmt.Sprintf("%s: expected %v %s, got %v %s", o.Name, want.verdict, want.reason, o.Verdict, o.Reason))
		}
		seen[o.Name] = true
	}
	for name, want := range e.tests {
		if !seen[name] {
			diff = append(diff, fmt.Sprintf("%s: did not run, expected %v", name, want.verdict))
		}
	}
	slices.Sort(diff)
	return diff
}

// Update makes the list agree with the outcomes. Reasons of tests that end as
// before are kept: they may have been written by hand.
func (e *Expected) Update(outcomes []Outcome) {
	tests := make(map[string]expectation, len(outcomes))
	for _, o := range outcomes {
		now := expectation{o.Verdict, o.Reason}
		if before, ok := e.tests[o.Name]; ok && before.verdict == o.Verdict {
			now.reason = before.reason
		}
		switch {
		case o.Verdict == Pass:
			now.reason = ""
		case now.reason == "":
			now.reason = "no reason given"
		}
		tests[o.Name] = now
	}
	e.tests = tests
}

// Format returns the text of the list, sorted by name.
func (e *Expected) Format() []byte {
	var lines []string
	for name, want := range e.tests {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%v %s %s", want.verdict, name, want.reason)))
	}
	slices.SortFunc(lines, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1])
	})
	lines = append(slices.Clone(e.header), lines...)
	return []byte(strings.Join(lines, "\n") + "\n")
}
