package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Results are the outcomes of suites, by SUITE.MODE.
type Results map[string][]Outcome

// ReadLists reads the expected lists in a folder as if they were outcomes.
func ReadLists(dir string) (Results, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, fmt.Errorf("find expected lists: %w", err)
	}
	r := Results{}
	for _, file := range files {
		e, err := LoadExpected(file)
		if err != nil {
			return nil, err
		}
		r[strings.TrimSuffix(filepath.Base(file), ".txt")] = e.outcomes()
	}
	return r, nil
}

// outcomes returns the list as outcomes, sorted by name.
func (e *Expected) outcomes() []Outcome {
	var list []Outcome
	for name, want := range e.tests {
		list = append(list, Outcome{Name: name, Verdict: want.verdict, Reason: want.reason})
	}
	sortOutcomes(list)
	return list
}

// AddRuns replaces results by the outcomes of runs, of which a folder has the tables.
func (r Results) AddRuns(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.tsv"))
	if err != nil {
		return fmt.Errorf("find outcomes: %w", err)
	}
	for _, file := range files {
		outcomes, err := ReadTSV(file)
		if err != nil {
			return err
		}
		r[strings.TrimSuffix(filepath.Base(file), ".tsv")] = outcomes
	}
	return nil
}

// Peer is another runner.
type Peer struct {
	Name    string
	Results Results
}

// ReadPeers reads how the runners in Beam's repository do in the same suites.
func (p Paths) ReadPeers() ([]Peer, error) {
	var peers []Peer
	for _, name := range []string{"prism", "python"} {
		lists, _ := p.lists(name)
		results, err := ReadLists(lists)
		if err != nil {
			return nil, err
		}
		if len(results) > 0 {
			peers = append(peers, Peer{Name: name, Results: results})
		}
	}
	return peers, nil
}

// title is what readers know the peer by.
func (p Peer) title() string {
	if p.Name == "python" {
		return "Python's job server"
	}
	return strings.ToUpper(p.Name[:1]) + p.Name[1:]
}

// Document returns the page that shows where gorunner and its peers stand.
func Document(suites []Suite, ours Results, peers []Peer) string {
	d := document{ours: ours, peers: peers}
	d.printf("%s", documentHead)
	d.overview(suites)
	for _, s := range suites {
		d.suite(s)
	}
	return d.String()
}

// documentHead begins the page.
const documentHead = `# Conformance

<!-- Written by "make conformance-doc" from the outcomes of the suites; not by hand. -->

Beam's own test suites of version 2.77.0, and programs of ours, run against the gorunner binary as
any client would run them. No filter of Beam's for a runner is in effect. Every list below is exact:
a test that ends otherwise, or otherwise in one of several runs, fails the build.

` + "`make conformance SDK=go`, or `python`, `java`, `typescript`, runs the suites of an SDK; `COUNT=5` runs each five times.\n"

type document struct {
	strings.Builder
	ours  Results
	peers []Peer
}

func (d *document) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(d, format, args...) // a strings.Builder takes everything
}

// overview writes one line for each suite and mode.
func (d *document) overview(suites []Suite) {
	d.printf("\n## Overview\n\n| suite | mode | tests | gorunner |")
	for _, p := range d.peers {
		d.printf(" %s |", p.title())
	}
	d.printf("\n|---|---|--:|--:|%s\n", strings.Repeat("--:|", len(d.peers)))
	for _, s := range suites {
		for _, m := range s.Modes {
			name := s.Name + "." + m.Name
			if d.ours[name] == nil {
				continue
			}
			d.printf("| %s | %s | %d | %s |", s.Name, m.Name, len(d.ours[name]), score(d.ours[name]))
			for _, p := range d.peers {
				d.printf(" %s |", score(p.Results[name]))
			}
			d.printf("\n")
		}
	}
	d.printf("\nA score is the number of tests that pass, of those that apply. What does not apply is said below, with the reason.\n")
}

// score counts what passes of what applies.
func score(outcomes []Outcome) string {
	if outcomes == nil {
		return ""
	}
	pass, apply := 0, 0
	for _, o := range outcomes {
		if o.Verdict == Pass {
			pass++
		}
		if o.Verdict != NotApplicable {
			apply++
		}
	}
	return fmt.Sprintf("%d of %d", pass, apply)
}

// column is a runner in a mode.
type column struct {
	title    string
	outcomes map[string]Outcome
}

// columns returns what the table of a suite has: a column for each mode, and
// one for each peer in it. Peers that no mode was measured with have none.
func (d *document) columns(s Suite) []column {
	var columns []column
	add := func(title string, outcomes []Outcome) {
		if outcomes == nil {
			return
		}
		c := column{title: title, outcomes: map[string]Outcome{}}
		for _, o := range outcomes {
			c.outcomes[o.Name] = o
		}
		columns = append(columns, c)
	}
	for _, m := range s.Modes {
		add(m.Name, d.ours[s.Name+"."+m.Name])
	}
	for _, p := range d.peers {
		for _, m := range s.Modes {
			add(p.title()+" "+m.Name, p.Results[s.Name+"."+m.Name])
		}
	}
	return columns
}

// suite writes the table of a suite, and why tests of it do not pass.
func (d *document) suite(s Suite) {
	columns := d.columns(s)
	if len(columns) == 0 {
		return
	}
	d.printf("\n## %s\n\n%s.\n\n| test |", s.Name, strings.ToUpper(s.About[:1])+s.About[1:])
	names := map[string]bool{}
	for _, c := range columns {
		d.printf(" %s |", c.title)
		for name := range c.outcomes {
			names[name] = true
		}
	}
	d.printf("\n|---|%s\n", strings.Repeat(":-:|", len(columns)))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d.printf("| %s |", name)
		for _, c := range columns {
			d.printf(" %s |", c.mark(name))
		}
		d.printf("\n")
	}
	d.reasons(s)
}

// mark shows how a test ended.
func (c column) mark(test string) string {
	o, ran := c.outcomes[test]
	if !ran {
		return ""
	}
	switch o.Verdict {
	case Pass:
		return "pass"
	case Fail:
		return "**fail**"
	case NotApplicable:
		return "n/a"
	}
	return o.Verdict.String()
}

// reasons writes why tests do not pass here, once for each reason.
func (d *document) reasons(s Suite) {
	why := map[string][]string{}
	for _, m := range s.Modes {
		for _, o := range d.ours[s.Name+"."+m.Name] {
			if o.Verdict == Pass {
				continue
			}
			text := fmt.Sprintf("%s: %s", o.Name, o.Reason)
			why[text] = append(why[text], m.Name)
		}
	}
	if len(why) > 0 {
		d.printf("\nWhat does not pass, or does not apply:\n\n")
	}
	for _, text := range slices.Sorted(maps.Keys(why)) {
		where := ""
		if len(why[text]) < len(s.Modes) {
			where = " (" + strings.Join(why[text], ", ") + ")"
		}
		d.printf("- %s%s\n", text, where)
	}
}

// WriteDocument writes docs/conformance.md from the expected lists and the
// outcomes of what has been run.
func (p Paths) WriteDocument() error {
	lists, out := p.lists("")
	ours, err := ReadLists(lists)
	if err != nil {
		return err
	}
	if err := ours.AddRuns(out); err != nil {
		return err
	}
	peers, err := p.ReadPeers()
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.document(), []byte(Document(AllSuites(), ours, peers)), 0o644); err != nil {
		return fmt.Errorf("write the conformance page: %w", err)
	}
	return nil
}

func (p Paths) document() string { return filepath.Join(p.Root, "docs", "conformance.md") }
