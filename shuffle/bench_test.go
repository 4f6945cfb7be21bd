package shuffle_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gorunner/gorunner/coder"
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/shuffle"
)

const (
	benchRecords  = 1 << 17
	messageBytes  = 1 << 20
	benchKeys     = 1000
	benchKeyBytes = 8
	// benchRecordBytes is what a record takes with its header.
	benchRecordBytes = 13 + 1 + benchKeyBytes + 1 + 77
)

// benchMessages are messages as a harness sends them: records of 100 bytes in
// the global window, with keys of 8 bytes and cut without regard to elements.
func benchMessages() (*shuffle.Layout, [][]byte) {
	b := coder.Must(coder.Bytes)
	l := &shuffle.Layout{Value: coder.Must(coder.KV, b, b), Window: coder.Must(coder.GlobalWindow)}
	var data []byte
	for i := range benchRecords {
		data = coder.PutHeader(data, element.Header{NumWindows: 1, Pane: []byte{coder.PaneOnlyFiring}})
		data = append(data, benchKeyBytes)
		data = fmt.Appendf(data, "%08d", i*7919%benchKeys)
		data = append(data, 77)
		data = append(data, make([]byte, 77)...)
	}
	var messages [][]byte
	for len(data) > 0 {
		n := min(messageBytes, len(data))
		messages = append(messages, data[:n])
		data = data[n:]
	}
	return l, messages
}

func benchmarkWriter(b *testing.B, want shuffle.Partitions) {
	b.Helper()
	l, messages := benchMessages()
	b.ReportAllocs()
	begin := cpuTime(b)
	for b.Loop() {
		w := shuffle.NewWriter(l, want, nil)
		for _, m := range messages {
			if err := w.Write(m); err != nil {
				b.Fatal(err)
			}
		}
		if out, err := w.Close(); err != nil || out.Count != benchRecords {
			b.Fatal(out.Count, err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-begin)/float64(b.N)/benchRecords, "cpu-ns/record")
}

// cpuTime is what the process has used of the processors so far. Other work on
// the machine does not change it as much as it does the time that passes.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkWriterPlain(b *testing.B) { benchmarkWriter(b, shuffle.Partitions{Plain: true}) }

func BenchmarkWriterKeyed(b *testing.B) { benchmarkWriter(b, shuffle.Partitions{Groups: 64}) }

func BenchmarkWriterKeyed256(b *testing.B) { benchmarkWriter(b, shuffle.Partitions{Groups: 256}) }

// BenchmarkWriterSmall writes little, as a bundle of a stream does.
func BenchmarkWriterSmall(b *testing.B) {
	for _, records := range []int{1, 1000} {
		for _, want := range []shuffle.Partitions{{Plain: true}, {Groups: 64}} {
			b.Run(fmt.Sprintf("%d/%d groups", records, want.Groups), func(b *testing.B) {
				l, messages := benchMessages()
				data := messages[0][:records*benchRecordBytes]
				b.ReportAllocs()
				begin := cpuTime(b)
				for b.Loop() {
					w := shuffle.NewWriter(l, want, nil)
					if err := w.Write(data); err != nil {
						b.Fatal(err)
					}
					if out, err := w.Close(); err != nil || out.Count != int64(records) {
						b.Fatal(out.Count, err)
					}
				}
				b.ReportMetric(float64(cpuTime(b)-begin)/float64(b.N), "cpu-ns/bundle")
			})
		}
	}
}
