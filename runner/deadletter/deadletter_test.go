package deadletter_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/runner/deadletter"
	"github.com/gorunner/gorunner/shuffle"
)

func letter(t *testing.T, parked bool, values ...string) *engine.DeadLetter {
	t.Helper()
	edge := &plan.Edge{
		Name: "pc", Value: coder.Must(coder.KV, coder.Must(coder.Bytes), coder.Must(coder.VarInt)),
		Windowing: &plan.Windowing{Window: coder.Must(coder.GlobalWindow)},
	}
	l := &engine.DeadLetter{
		Stage: &plan.Stage{Name: "A+B", Kind: &plan.Executable{
			Transforms: []plan.Transform{{Name: "A"}, {Name: "B"}}, Timers: []plan.TimerSpec{{Family: "fam"}},
		}},
		Edge: edge, Layout: shuffle.EdgeLayout(edge), Parked: parked, Bundle: 7, Attempts: 4, Err: errors.New("boom\ntrace"),
	}
	for i, v := range values {
		data := coder.PutHeader(nil, element.Header{Timestamp: element.EventTime(i), NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
		data = append(append(append(data, byte(len(v))), v...), byte(i))
		l.Input = append(l.Input, element.Block{Data: data, Count: 1})
	}
	return l
}

func keep(t *testing.T, s *deadletter.Store, l *engine.DeadLetter) (path, text string) {
	t.Helper()
	path, err := s.Keep(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, string(data)
}

func clock() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func TestKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dead")
	s := deadletter.New(deadletter.Params{Dir: dir, Job: "job", Clock: clock})
	l := letter(t, false, "key", "\x00")
	l.Timers = []*timer.Timer{{Name: timer.Name{Family: 0}, Fire: 9, Hold: 8, Data: []byte("d")}}
	path, got := keep(t, s, l)
	want := `{"job":"job","time":"2026-01-02T03:04:05Z","parked":false,"transforms":["A","B"],"attempts":4,"error":"boom\ntrace","pcollection":"pc","coder":"kv\u003cbytes,varint\u003e"}
{"timestamp_ms":0,"windows":["global"],"pane":"0f","value":{"key":"key","value":0},"encoded":"gAAAAAAAAAAAAAABDwNrZXkA"}
{"timestamp_ms":1,"windows":["global"],"pane":"0f","value":{"key":{"hex":"00"},"value":1},"encoded":"gAAAAAAAAAEAAAABDwEAAQ=="}
{"timer":"fam","fire_ms":9,"hold_ms":8,"encoded":"ZA=="}
`
	if diff := cmp.Diff(want, got); diff != "" || filepath.Base(path) != "failed-7.jsonl" {
		t.Errorf("%s: %s", path, diff)
	}
}

// TestNames: what has a number replaces what was kept of it before.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	s := deadletter.New(deadletter.Params{Dir: dir, Clock: clock})
	for i := range 3 {
		l := letter(t, true, "x")
		if i > 0 {
			l.Number = 42
		}
		keep(t, s, l)
	}
	files, err := os.ReadDir(dir)
	if got := fmt.Sprint(files); err != nil || got != "[- parked-1.jsonl - parked-42.jsonl]" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestRetract: only what was parked has a number.
func TestRetract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dead")
	s := deadletter.New(deadletter.Params{Dir: dir, Clock: clock})
	seven := func(n element.Number) bool { return n == 7 }
	if err := s.Retract(t.Context(), seven); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	keep(t, s, letter(t, false, "x")) // of bundle 7
	for _, n := range []element.Number{7, 8} {
		l := letter(t, true, "x")
		l.Number = n
		keep(t, s, l)
	}
	if err := s.Retract(t.Context(), seven); err != nil {
		t.Error(err)
	}
	files, err := os.ReadDir(dir)
	if got := fmt.Sprint(files); err != nil || got != "[- failed-7.jsonl - parked-8.jsonl]" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestBounds: of a bundle the rest is omitted; what is parked is whole or refused.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	s := deadletter.New(deadletter.Params{Dir: dir, Clock: clock, FileBytes: 300})
	if _, got := keep(t, s, letter(t, false, "a", "b", "c", "d")); !strings.HasSuffix(got, "\n{\"omitted\":2}\n") {
		t.Errorf("%s", got)
	}
	l := letter(t, true, "x")
	l.Input[0].Pages = []*element.Page{{Token: "t", Chunks: []element.Chunk{{Data: []byte("ab")}, {Data: []byte("c")}}}}
	if _, got := keep(t, s, l); !strings.Contains(got, `"pages":[{"token":"74","chunks":["YWI=","Yw=="]}]`) {
		t.Errorf("%s", got)
	}
	l.Input[0].Pages[0].Chunks[0].Data = make([]byte, 300)
	l.Number = 5
	if _, err := s.Keep(t.Context(), l); !errors.Is(err, deadletter.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}
