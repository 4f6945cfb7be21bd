package main

import (
	"fmt"
	"io"
	"log/slog"
)

// newLogger makes a logger. JSON lines have the shape that the SDKs parse:
// level, msg, time, and below debug the source.
func newLogger(w io.Writer, kind, level string) (*slog.Logger, error) {
	var l slog.Level
	switch level {
	case "debug":
		l = slog.LevelDebug
	case "info":
		l = slog.LevelInfo
	case "warn", "warning":
		l = slog.LevelWarn
	case "error":
		l = slog.LevelError
	default:
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l, AddSource: l <= slog.LevelDebug}
	switch kind {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "dev":
		return slog.New(newDevHandler(w, l)), nil
	}
	return nil, fmt.Errorf("log kind %q: want dev, text or json", kind)
}
