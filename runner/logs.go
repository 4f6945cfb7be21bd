package runner

import (
	"context"
	"log/slog"
	"strings"

	"github.com/gorunner/gorunner/fnapi"
)

// workerLog takes the log entries of one worker to the job's messages and the
// server's log, and keeps the last ones for the error when the worker fails.
type workerLog struct {
	job  *job
	log  *slog.Logger
	tail *tail
}

// take handles one entry; it is called from the worker's logging stream.
func (w workerLog) take(e fnapi.LogEntry) {
	text := strings.TrimRight(e.Message, "\n")
	if e.Trace != "" {
		text += "\n" + strings.TrimRight(e.Trace, "\n")
	}
	w.tail.add(text)
	name := w.job.transformName(e.Transform)
	attrs := []slog.Attr{
		slog.Group("worker", slog.String("ID", string(e.Worker))),
		slog.Group("sdk", slog.String("msg", text)),
	}
	if name != "" {
		attrs = append(attrs, slog.String("transform", name))
	}
	if e.Location != "" {
		attrs = append(attrs, slog.String("location", e.Location))
	}
	level := e.Severity
	if e.Instruction == "" && level < slog.LevelError {
		level = slog.LevelDebug // the harness about itself
	}
	w.log.LogAttrs(context.Background(), level, "log from SDK worker", attrs...)
	if e.Instruction == "" {
		// A Go client in LOOPBACK sends its own log this way too, the job's
		// messages included: to send those back would never end.
		return
	}
	if name != "" {
		text = "[" + name + "] " + text
	}
	w.job.hub.say(importance(e.Severity), text)
}

// importance is what a log level is among the job's messages. Errors are
// warnings there: see [Failure].
func importance(l slog.Level) Importance {
	switch {
	case l < slog.LevelInfo:
		return Debug
	case l < slog.LevelWarn:
		return Basic
	}
	return Warning
}
