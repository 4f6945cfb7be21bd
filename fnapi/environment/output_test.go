package environment

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOutput(t *testing.T) {
	log := newLines()
	out, w, err := newOutput("w", slog.New(log), Options{LogTail: 3, LineBytes: 16})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.tail(); len(got) != 0 {
		t.Errorf("tail of nothing = %q", got)
	}
	if _, err := io.WriteString(w, "one\r\n\ntwo\n"+strings.Repeat("x", 20)+"\nno end"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out.drain(t.Context(), testLimit)
	var got []string
	for len(log) > 0 {
		got = append(got, <-log)
	}
	if want := []string{"one", "", "two", strings.Repeat("x", 16), "xxxx", "no end"}; !slices.Equal(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
	if got, want := out.tail(), got[3:]; !slices.Equal(got, want) {
		t.Errorf("tail = %q, want %q", got, want)
	}
}

// TestOutputHeldOpen has a process that escaped and never lets go of the pipe.
func TestOutputHeldOpen(t *testing.T) {
	out, w, err := newOutput("w", slog.New(slog.DiscardHandler), Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	out.drain(t.Context(), 10*time.Millisecond)
}

func TestExitErrorText(t *testing.T) {
	err := &ExitError{Worker: "w1", Command: "process boot", Status: "exit status 3", Tail: []string{"a", "b"}}
	if got, want := err.Error(), "worker w1: process boot ended: exit status 3; its last lines:\n\ta\n\tb"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	err.Tail = nil
	if got := fmt.Sprint(err); !strings.HasSuffix(got, "; it printed nothing") {
		t.Errorf("got %q", got)
	}
}
