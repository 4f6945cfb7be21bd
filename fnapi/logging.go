package fnapi

import (
	"log/slog"
	"time"

	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

	"github.com/gorunner/gorunner/execution/harness"
	"github.com/gorunner/gorunner/plan"
)

// LogEntry is a line of a harness' log.
type LogEntry struct {
	Worker harness.WorkerID
	// Instruction and Transform are what the harness was at; empty where it does
	// not say.
	Instruction string
	Transform   plan.TransformID
	// Severity is the SDK's, in steps of slog: what lies between or beyond two
	// levels there does so here.
	Severity slog.Level
	Message  string
	// Time is the zero time where the harness gives none.
	Time time.Time
	// Trace is the stack trace of the error that the entry is about.
	Trace string
	// Location is the source position, Thread the thread, as the SDK writes them.
	Location, Thread string
}

// LogSink receives the log of a harness, possibly from several goroutines. It
// must not block for long: the harness' log waits for it.
type LogSink func(LogEntry)

// loggingService serves the logging streams.
type loggingService struct {
	fnpb.UnimplementedBeamFnLoggingServer
	server *Server
}

// Logging reads a harness' log until the harness closes it. When a worker is
// lost, the last of its log is what tells why, so the stream outlives the worker
// until some time after it has been stopped.
func (s loggingService) Logging(stream fnpb.BeamFnLogging_LoggingServer) error {
	w, err := s.server.worker(stream.Context())
	if err != nil {
		return err
	}
	if err := w.openStream(loggingStream); err != nil {
		return err
	}
	defer w.closeStream(loggingStream)
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.receiveLogs(stream) }()
	select {
	case err := <-ended:
		return plainEnd(err)
	case <-w.logsDone:
		return nil
	}
}

func (w *Worker) receiveLogs(stream fnpb.BeamFnLogging_LoggingServer) error {
	for {
		list, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, p := range list.GetLogEntries() {
			entry := w.logEntry(p)
			if w.spec.Logs != nil {
				w.spec.Logs(entry)
			}
		}
	}
}

// lingerLogs ends the reading of the log after a while.
func (w *Worker) lingerLogs() {
	time.AfterFunc(w.opts.LogLinger, func() { close(w.logsDone) })
}

func (w *Worker) logEntry(p *fnpb.LogEntry) LogEntry {
	entry := LogEntry{
		Worker:      w.spec.ID,
		Instruction: p.GetInstructionId(),
		Transform:   plan.TransformID(p.GetTransformId()),
		Severity:    severity(p.GetSeverity()),
		Message:     p.GetMessage(),
		Trace:       p.GetTrace(),
		Location:    p.GetLogLocation(),
		Thread:      p.GetThread(),
	}
	if ts := p.GetTimestamp(); ts != nil {
		entry.Time = ts.AsTime()
	}
	return entry
}

func severity(s fnpb.LogEntry_Severity_Enum) slog.Level {
	switch s {
	case fnpb.LogEntry_Severity_TRACE:
		return slog.LevelDebug - 4
	case fnpb.LogEntry_Severity_DEBUG:
		return slog.LevelDebug
	case fnpb.LogEntry_Severity_NOTICE:
		return slog.LevelInfo + 2
	case fnpb.LogEntry_Severity_WARN:
		return slog.LevelWarn
	case fnpb.LogEntry_Severity_ERROR:
		return slog.LevelError
	case fnpb.LogEntry_Severity_CRITICAL:
		return slog.LevelError + 4
	case fnpb.LogEntry_Severity_UNSPECIFIED, fnpb.LogEntry_Severity_INFO:
	}
	return slog.LevelInfo
}
