package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGenerateIsDeterministic(t *testing.T) {
	const size = 100_000
	var a, b bytes.Buffer
	words, err := generate(&a, size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := generate(&b, size); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two texts of the same size differ")
	}
	if a.Len() < size || a.Len() > size+50 {
		t.Errorf("text has %d bytes, want about %d", a.Len(), size)
	}
	fields := strings.Fields(a.String())
	if len(fields) != words {
		t.Errorf("text has %d words, said to be %d", len(fields), words)
	}
	distinct := map[string]bool{}
	for _, f := range fields {
		distinct[f] = true
	}
	if len(distinct) < 1000 || len(distinct) > words/2 {
		t.Errorf("%d distinct words among %d are not like a language", len(distinct), words)
	}
}

func TestWriteTextReportsWordsAgain(t *testing.T) {
	dir := t.TempDir()
	file, words, err := writeText(dir, 5000)
	if err != nil {
		t.Fatal(err)
	}
	again, same, err := writeText(dir, 5000)
	if err != nil || again != file || same != words {
		t.Errorf("got %s, %d, %v, want %s, %d", again, same, err, file, words)
	}
	if err := os.WriteFile(filepath.Join(dir, "text-6000.txt.words"), []byte("many"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := writeText(dir, 6000); err == nil {
		t.Error("no error for a number of words that is none")
	}
}

// TestSpellIsInjective: two words that are spelled alike would be counted as one.
func TestSpellIsInjective(t *testing.T) {
	seen := map[string]uint64{}
	for n := range uint64(vocabulary) {
		word := string(spell(n))
		if other, ok := seen[word]; ok {
			t.Fatalf("%d and %d are both spelled %q", other, n, word)
		}
		seen[word] = n
	}
}

func TestMedianOf(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 30}, 3}} {
		if got := medianOf(test.values); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
}

func TestTable(t *testing.T) {
	m := &match{
		settings: settings{peers: true, ceiling: true, peerTimeout: 100 * time.Second},
		workload: goWorkload("w", 1000, "w").wants(0.8, 10),
		runs: map[string][]run{
			prism: {{seconds: 4, runnerPeak: 3 << 20}, {seconds: 9}, {skipped: true}},
			ours:  {{seconds: 2, executed: 2, runner: time.Second}, {seconds: 3, executed: 2.5}, {seconds: 1, executed: 1}},
			prism8: {
				{err: errors.New("out\nof | memory")},
			},
			ceiling: {{seconds: 1}, {seconds: 2}, {seconds: 0.5}}, // shares 0.5, 0.8, 0.5
		},
	}
	got := m.rows()
	for _, want := range []string{
		"| Prism | 6.50 (4.00-9.00) | 153.8 | 2.50x |", // ratios 2 and 3
		"|  | Prism, GOMAXPROCS=8 | failed: out of / memory |",
		"| gorunner | 2.00 (1.00-3.00) | 500.0 |  | 0 |", "| 50 % |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("table lacks %q:\n%s", want, got)
		}
	}
	if got, want := m.barRow(), "| w | **50 %** | 80 % | **2.50x** | 10.00x |\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	m.runs[prism8][0].err = fmt.Errorf("%w 100s", errTooLong)
	if got := m.rows(); !strings.Contains(got, "took longer than 100s |  | more than 50.00x") {
		t.Errorf("what has not ended is not told:\n%s", got)
	}
}

// TestWorkloadsScale checks that a tiny scale leaves something to do.
func TestWorkloadsScale(t *testing.T) {
	for _, w := range workloads(1e-9) {
		if w.records < 1 {
			t.Errorf("%s has %d records", w.name, w.records)
		}
	}
}

func TestMarginalCost(t *testing.T) {
	first := point{10, 7} // 5 of them whatever the size
	if got := (point{100, 25}).marginal(first); got != 0.2 {
		t.Errorf("a unit more costs %v, want 0.2", got)
	}
	if got := (point{10, 8}).marginal(first); got != 0.8 {
		t.Errorf("with the same units: %v, want 0.8", got)
	}
	for ratio, want := range map[float64]string{math.NaN(): "", 1: "1.00x", 2: "**2.00x**"} {
		if got := growth(ratio); got != want {
			t.Errorf("growth of %v is %q, want %q", ratio, got, want)
		}
	}
}
