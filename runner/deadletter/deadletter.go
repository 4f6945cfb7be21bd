// Package deadletter keeps the input that a job could not execute: the elements that
// it has parked, and the input of the bundle that it failed with.
//
// Each lies in a file of JSON lines in the job's directory. The first line says what
// happened, the others are an element or a timer each:
//
//	{"job":…, "time":…, "parked":…, "transforms":[…], "attempts":…, "error":…, "pcollection":…, "coder":…}
//	{"timestamp_ms":…, "windows":[…], "pane":…, "value":…, "encoded":…, "pages":[…]}
//	{"timer":…, "fire_ms":…, "hold_ms":…, "encoded":…}
//	{"omitted":…}
//
// "value" is for people, as far as the runner knows the coder; "encoded" is the whole
// windowed value, or timer, as the SDK has it, in base64. "pages" are values too large
// to stand in the element, by the tokens that are in their place. Of the input of a
// bundle, what is beyond the file's bound is left out and counted in the last line. An
// element that is parked is there as a whole, or the job fails.
//
// A file is there as a whole once it is there, whatever ends the machine. It is safe
// to use a [Store] from any goroutine.
package deadletter

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/engine"
	"github.com/gorunner/gorunner/plan"
)

// Params are what a Store is made of.
type Params struct {
	// Dir is made when it is first needed.
	Dir string
	Job string
	// FileBytes bounds a file, roughly; default 16 MiB.
	FileBytes int64
	Clock     func() time.Time
}

// Store implements engine.DeadLetters.
type Store struct {
	p    Params
	mu   sync.Mutex
	kept int // guarded by mu; those without a number
}

// New makes a store.
func New(p Params) *Store {
	if p.FileBytes == 0 {
		p.FileBytes = 16 << 20
	}
	return &Store{p: p}
}

// ErrTooLarge is the error for an element that cannot be kept as a whole.
var ErrTooLarge = errors.New("larger than a dead letter may be")

type head struct {
	Job        string    `json:"job"`
	Time       time.Time `json:"time"`
	Parked     bool      `json:"parked"`
	Transforms []string  `json:"transforms"`
	Attempts   int       `json:"attempts"`
	Error      string    `json:"error"`
	Collection string    `json:"pcollection,omitempty"`
	Coder      string    `json:"coder,omitempty"`
}

type elementLine struct {
	Timestamp int64             `json:"timestamp_ms"`
	Windows   []json.RawMessage `json:"windows"`
	Pane      string            `json:"pane"`
	Value     json.RawMessage   `json:"value"`
	Encoded   string            `json:"encoded"`
	Pages     []page            `json:"pages,omitempty"`
}

type page struct {
	Token  string   `json:"token"`
	Chunks []string `json:"chunks"`
}

type timerLine struct {
	Timer   string `json:"timer"`
	Fire    int64  `json:"fire_ms"`
	Hold    int64  `json:"hold_ms"`
	Encoded string `json:"encoded"`
}

type lastLine struct {
	Omitted int64 `json:"omitted"`
}

// Keep writes a file.
func (s *Store) Keep(_ context.Context, l *engine.DeadLetter) (string, error) {
	path := filepath.Join(s.p.Dir, s.name(l))
	if err := s.write(path, l); err != nil {
		return "", fmt.Errorf("dead letter %s: %w", path, err)
	}
	return path, nil
}

// Retract removes the files of parked elements.
func (s *Store) Retract(_ context.Context, retracted func(element.Number) bool) error {
	paths, err := Parked(s.p.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		n, _ := parkedNumber(filepath.Base(path))
		if !retracted(n) {
			continue
		}
		if err := os.Remove(path); err != nil {
			errs = append(errs, fmt.Errorf("retract dead letter %d: %w", n, err))
		}
	}
	return errors.Join(errs...)
}

// Parked lists the files of parked elements in the directory of a store.
func Parked(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if _, ok := parkedNumber(e.Name()); ok {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// parkedNumber is the number in the name of a file of a parked element.
func parkedNumber(name string) (element.Number, bool) {
	text, parked := strings.CutPrefix(name, "parked-")
	text, whole := strings.CutSuffix(text, ".jsonl")
	n, err := strconv.ParseUint(text, 10, 64)
	return element.Number(n), parked && whole && err == nil
}

func (s *Store) name(l *engine.DeadLetter) string {
	switch {
	case !l.Parked:
		return fmt.Sprintf("failed-%d.jsonl", l.Bundle)
	case l.Number != 0:
		return fmt.Sprintf("parked-%d.jsonl", l.Number)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept++
	return fmt.Sprintf("parked-%d.jsonl", s.kept)
}

// write writes a file beside its place first.
func (s *Store) write(path string, l *engine.DeadLetter) error {
	if err := os.MkdirAll(s.p.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.p.Dir, ".new-*")
	if err != nil {
		return err
	}
	w := writer{out: bufio.NewWriter(f), left: s.p.FileBytes}
	err = w.letter(s.head(l), l)
	err = errors.Join(err, w.out.Flush())
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return errors.Join(syncDir(s.p.Dir), syncDir(filepath.Dir(s.p.Dir)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) head(l *engine.DeadLetter) head {
	h := head{Job: s.p.Job, Time: s.p.Clock().UTC(), Parked: l.Parked, Attempts: l.Attempts, Error: l.Err.Error()}
	switch k := l.Stage.Kind.(type) {
	case *plan.Executable:
		for _, t := range k.Transforms {
			h.Transforms = append(h.Transforms, t.Name)
		}
	case *plan.Impulse, *plan.TestSource, *plan.GroupByKey, *plan.View, *plan.TimeSort:
		h.Transforms = []string{l.Stage.Name}
	}
	if l.Edge != nil {
		h.Collection, h.Coder = l.Edge.Name, l.Edge.Value.String()
	}
	return h
}

// writer writes lines as long as there is room.
type writer struct {
	out     *bufio.Writer
	left    int64
	omitted int64
}

func (w *writer) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.left -= int64(len(data) + 1)
	if _, err = w.out.Write(data); err == nil {
		err = w.out.WriteByte('\n')
	}
	return err
}

func (w *writer) letter(h head, l *engine.DeadLetter) error {
	if err := w.line(h); err != nil {
		return err
	}
	for i := range l.Input {
		if err := w.block(l, &l.Input[i]); err != nil {
			return err
		}
	}
	for _, t := range l.Timers {
		if w.left <= 0 {
			w.omitted++
			continue
		}
		err := w.line(timerLine{
			Timer: family(l.Stage, t.Family), Fire: int64(t.Fire), Hold: int64(t.Hold),
			Encoded: base64.StdEncoding.EncodeToString(t.Data),
		})
		if err != nil {
			return err
		}
	}
	if w.omitted > 0 {
		return w.line(lastLine{w.omitted})
	}
	return nil
}

func (w *writer) block(l *engine.DeadLetter, b *element.Block) error {
	rest := int64(b.Count)
	for data := b.Data; len(data) > 0; rest-- {
		if w.left <= 0 {
			w.omitted += rest
			return nil
		}
		line, size, err := w.element(l, b, data)
		if err == nil {
			err = w.line(line)
		}
		if err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}

// element cuts the first element of data.
func (w *writer) element(l *engine.DeadLetter, b *element.Block, data []byte) (line elementLine, size int, err error) {
	e, err := l.Layout.Cut(data)
	if err != nil {
		return line, 0, err
	}
	line = elementLine{
		Timestamp: int64(e.Header.Timestamp), Pane: hex.EncodeToString(e.Header.Pane),
		Encoded: base64.StdEncoding.EncodeToString(data[:e.Size]),
	}
	for rest := e.Header.Windows; len(line.Windows) < e.Header.NumWindows; {
		text, n, err := l.Layout.Window.AppendJSON(nil, rest)
		if err != nil {
			return line, 0, fmt.Errorf("window: %w", err)
		}
		line.Windows, rest = append(line.Windows, text), rest[n:]
	}
	if line.Value, _, err = l.Layout.Value.AppendJSON(nil, e.Value); err != nil {
		return line, 0, fmt.Errorf("value: %w", err)
	}
	if l.Parked || b.Count == 1 {
		line.Pages, err = w.pages(b, l.Parked)
	}
	return line, e.Size, err
}

// family is the name of a family of timers.
func family(s *plan.Stage, i int) string {
	if k, ok := s.Kind.(*plan.Executable); ok && i >= 0 && i < len(k.Timers) {
		return k.Timers[i].Family
	}
	return fmt.Sprintf("%d", i)
}

// pages are those of a block with one element. What is parked must not lose any.
func (w *writer) pages(b *element.Block, all bool) (out []page, err error) {
	size := 0
	for _, p := range b.Pages {
		for i := range p.Chunks {
			size += p.Chunks[i].Size()
		}
	}
	if int64(size) > w.left {
		if all {
			return nil, fmt.Errorf("%d bytes of values: %w", size, ErrTooLarge)
		}
		return nil, nil
	}
	for _, p := range b.Pages {
		kept := page{Token: hex.EncodeToString([]byte(p.Token))}
		for i := range p.Chunks {
			data, err := p.Chunks[i].Load()
			if err != nil {
				return nil, err
			}
			kept.Chunks = append(kept.Chunks, base64.StdEncoding.EncodeToString(data))
		}
		out = append(out, kept)
	}
	return out, nil
}
