package fnapi

import (
	"log/slog"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
)

// Options are the settings and limits of a server; zero values stand for the
// defaults said with each.
type Options struct {
	// Log receives what is worth knowing about workers; default nothing.
	Log *slog.Logger

	// MaxMessageBytes bounds a gRPC message in either direction; default 2 GiB
	// less one byte.
	MaxMessageBytes int
	// DataChunkBytes is the size up to which input blocks are put together into
	// one message. A larger block is a message of its own, since SDKs want whole
	// elements in a message. Default 2 MiB: the Go SDK stops reading the data of
	// all its bundles while one of them has 20 messages unread, and at this size
	// a bundle of 32 MiB has 17.
	DataChunkBytes int
	// WindowBytes is the HTTP/2 window of a stream, ConnectionWindowBytes that
	// of a connection; default 4 MiB and 16 MiB.
	WindowBytes, ConnectionWindowBytes int

	// MaxWorkers bounds the workers of the process; default 4096.
	MaxWorkers int
	// MaxBundles bounds the bundles of one worker at a time; default 1024.
	MaxBundles int
	// MaxInstructions bounds the control requests that wait to be sent to one
	// worker; default 8192.
	MaxInstructions int
	// MaxStateRequests bounds the state requests of one stream that are being
	// served at a time; more wait in the stream. Default 256.
	MaxStateRequests int
	// MaxStreams bounds the streams of one kind that a worker may open, for the
	// kinds of which it may have several; default 16.
	MaxStreams int
	// MaxShortIDs bounds the short ids of metrics of one worker; payloads under
	// further ids are dropped. Default 1,000,000.
	MaxShortIDs int
	// MetricsTimeout is how long a harness may take to say what its short ids
	// stand for; default 30 s. After that their payloads are dropped.
	MetricsTimeout time.Duration
	// StopGrace is how long a harness may take to come to the end of bundles that
	// nobody wants any more, before its streams end; default 1 s. Go's harness reads
	// a stream that ends while it writes from two goroutines at once.
	StopGrace time.Duration
	// LogLinger is how long the log of a stopped worker is still read; default
	// 5 s. Java's harness looks once a second whether it is to end its log, and
	// calls it an error when the runner does so first.
	LogLinger time.Duration
}

// connBufferBytes is what is read from a connection, and written to it, in one
// system call: four times gRPC's default, which takes a third of the calls where
// data is large.
const connBufferBytes = 128 << 10

// Keepalive of connections. Harnesses ping as often as every 20 s, also without
// a call. A harness whose machine is gone is noticed after the sum of the two
// times; the second is long because a busy interpreter may not answer.
const (
	pingEveryMin   = 5 * time.Second
	pingIdle       = 2 * time.Minute
	pingAnswerWait = 5 * time.Minute
)

func (o Options) withDefaults() Options {
	setDefault(&o.MaxMessageBytes, math.MaxInt32)
	setDefault(&o.DataChunkBytes, 2<<20)
	setDefault(&o.WindowBytes, 4<<20)
	setDefault(&o.ConnectionWindowBytes, 16<<20)
	setDefault(&o.MaxWorkers, 4096)
	setDefault(&o.MaxBundles, 1024)
	setDefault(&o.MaxInstructions, 8192)
	setDefault(&o.MaxStateRequests, 256)
	setDefault(&o.MaxStreams, 16)
	setDefault(&o.MaxShortIDs, 1_000_000)
	setDefault(&o.MetricsTimeout, 30*time.Second)
	setDefault(&o.StopGrace, time.Second)
	setDefault(&o.LogLinger, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// ServerOptions returns the settings that the gRPC server must have on which a
// [Server] with default options is registered.
func ServerOptions() []grpc.ServerOption { return Options{}.ServerOptions() }

// ServerOptions returns the settings that the gRPC server must have: the codec
// of frames, which leaves other messages as they are, connections that spare
// wake-ups, and the limits.
func (o Options) ServerOptions() []grpc.ServerOption {
	o = o.withDefaults()
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.Creds(newPatientCreds()),
		experimental.BufferPool(&frameBuffers{}),
		grpc.ReadBufferSize(connBufferBytes),
		grpc.WriteBufferSize(connBufferBytes),
		grpc.MaxRecvMsgSize(o.MaxMessageBytes),
		grpc.MaxSendMsgSize(o.MaxMessageBytes),
		grpc.InitialWindowSize(window(o.WindowBytes)),
		grpc.InitialConnWindowSize(window(o.ConnectionWindowBytes)),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             pingEveryMin,
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingIdle, Timeout: pingAnswerWait}),
	}
}

func window(n int) int32 { return int32(min(n, math.MaxInt32)) }
