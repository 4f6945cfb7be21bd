package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// devHandler writes log lines for people who watch a terminal:
//
//	15:04:05 INFO  job started job=wordcount-1 stages=7
//
// Values of several lines follow indented.
type devHandler struct {
	mu    *sync.Mutex // serializes writes; shared by all handlers of w
	w     io.Writer
	level slog.Level
	attrs string // what WithAttrs added, formatted
	group string // prefix of attributes
}

func newDevHandler(w io.Writer, level slog.Level) *devHandler {
	return &devHandler{mu: new(sync.Mutex), w: w, level: level}
}

// Enabled implements slog.Handler.
func (h *devHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler.
func (h *devHandler) Handle(_ context.Context, r slog.Record) error {
	var line, below strings.Builder
	fmt.Fprintf(&line, "%s %-5s %s", r.Time.Format("15:04:05"), r.Level, r.Message)
	line.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&line, &below, h.group, a)
		return true
	})
	line.WriteByte('\n')
	line.WriteString(below.String())
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, line.String())
	return err
}

// WithAttrs implements slog.Handler.
func (h *devHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var line strings.Builder
	for _, a := range attrs {
		writeAttr(&line, &line, h.group, a)
	}
	c := *h
	c.attrs += line.String()
	return &c
}

// WithGroup implements slog.Handler.
func (h *devHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	return &c
}

// writeAttr writes one attribute to the line, or below it when it has several
// lines itself.
func writeAttr(line, below *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range v.Group() {
			writeAttr(line, below, group, member)
		}
		return
	}
	text := v.String()
	switch {
	case strings.Contains(text, "\n"):
		fmt.Fprintf(below, "    %s%s:\n      %s\n", group, a.Key, strings.ReplaceAll(text, "\n", "\n      "))
	case text == "" || strings.ContainsAny(text, " \"="):
		fmt.Fprintf(line, " %s%s=%q", group, a.Key, text)
	default:
		fmt.Fprintf(line, " %s%s=%s", group, a.Key, text)
	}
}
