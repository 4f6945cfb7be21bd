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

// MergeRuns makes one list of the outcomes of several runs of a suite. A test
// that did not end the same way in each has failed, and says so.
func MergeRuns(runs [][]Outcome) []Outcome {
	if len(runs) == 1 {
		return runs[0]
	}
	byName := map[string][]Outcome{}
	for _, run := range runs {
		for _, o := range run {
			byName[o.Name] = append(byName[o.Name], o)
		}
	}
	var merged []Outcome
	for _, ends := range byName {
		merged = append(merged, mergeEnds(ends, len(runs)))
	}
	sortOutcomes(merged)
	return merged
}

// mergeEnds merges how one test ended in some of the runs.
func mergeEnds(ends []Outcome, runs int) Outcome {
	worst, times := ends[0], map[Verdict]int{}
	for _, o := range ends {
		times[o.Verdict]++
		took := max(o.Took, worst.Took)
		if o.Verdict == Fail && worst.Verdict != Fail {
			worst = o
		}
		worst.Took = took
	}
	if times[worst.Verdict] < runs {
		worst.Reason = oneLine(fmt.Sprintf("flaky: passed %d of %d runs, failed %d: %s", times[Pass], runs, times[Fail], worst.Reason))
		worst.Verdict = Fail
	}
	return worst
}

// ReadTSV reads what WriteTSV has written.
func ReadTSV(path string) ([]Outcome, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read outcomes: %w", err)
	}
	var outcomes []Outcome
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		fields := strings.Split(line, "\t")
		if i == 0 {
			continue // the names of the columns
		}
		if len(fields) != 6 {
			return nil, fmt.Errorf("outcomes %s: line %d has %d columns, want 6", path, i+1, len(fields))
		}
		verdict, err := parseVerdict(fields[3])
		if err != nil {
			return nil, fmt.Errorf("outcomes %s: line %d: %w", path, i+1, err)
		}
		outcomes = append(outcomes, Outcome{Name: fields[2], Verdict: verdict, Reason: fields[5]})
	}
	return outcomes, nil
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
