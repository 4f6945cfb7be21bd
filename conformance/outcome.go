package conformance

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Verdict is how a test ended, or is expected to end.
type Verdict int

// The verdicts. NotApplicable is a test that was skipped, by itself or by us.
const (
	Pass Verdict = iota
	Fail
	NotApplicable
)

// String returns the word that stands for v in files.
func (v Verdict) String() string {
	switch v {
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	case NotApplicable:
		return "na"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// parseVerdict is the inverse of String.
func parseVerdict(word string) (Verdict, error) {
	for _, v := range []Verdict{Pass, Fail, NotApplicable} {
		if v.String() == word {
			return v, nil
		}
	}
	return 0, fmt.Errorf("verdict %q is none of pass, fail, na", word)
}

// Outcome is how one test ended.
type Outcome struct {
	Name    string
	Verdict Verdict
	// Reason is one line that says why a test did not pass.
	Reason string
	Took   time.Duration
}

// reasonLimit is the length that reasons are cut to, in bytes.
const reasonLimit = 200

// oneLine makes a reason out of any text.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > reasonLimit {
		text = strings.ToValidUTF8(text[:reasonLimit], "")
	}
	return text
}

// sortOutcomes sorts by name.
func sortOutcomes(outcomes []Outcome) {
	slices.SortFunc(outcomes, func(a, b Outcome) int { return cmp.Compare(a.Name, b.Name) })
}

// WriteTSV writes the outcomes of a suite as a table.
func WriteTSV(path, suite, mode string, outcomes []Outcome) error {
	var b strings.Builder
	b.WriteString("suite\tmode\ttest\tverdict\tseconds\treason\n")
	for _, o := range outcomes {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%v\t%.2f\t%s\n", suite, mode, o.Name, o.Verdict, o.Took.Seconds(), o.Reason)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write outcomes of %s: %w", suite, err)
	}
	return nil
}

// Summary counts the verdicts.
func Summary(outcomes []Outcome) string {
	count := map[Verdict]int{}
	for _, o := range outcomes {
		count[o.Verdict]++
	}
	return fmt.Sprintf("%d tests: %d pass, %d fail, %d not applicable", len(outcomes), count[Pass], count[Fail], count[NotApplicable])
}
