package segment

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gorunner/gorunner/element"
)

// benchBytes is what is written and read in an iteration. Rates are by the time
// of the processor, which other work on the machine does not change as much.
const benchBytes = 1 << 28

// cpuTime is what the process has used of the processors so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(b *testing.B, cpu time.Duration) {
	b.Helper()
	gigabytes := float64(b.N) * benchBytes / 1e9
	b.ReportMetric(cpu.Seconds()/gigabytes, "cpu-s/GB")
	b.ReportMetric(0, "ns/op")
	b.SetBytes(benchBytes)
}

func benchData(kind string, size int) []byte {
	if kind == "text" {
		return text(size)
	}
	return noise(size, 1)
}

func BenchmarkStore(b *testing.B) {
	for _, kind := range []string{"noise", "text"} {
		for _, size := range []int{64 << 10, 256 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", kind, size>>10), func(b *testing.B) {
				data := benchData(kind, size)
				b.ReportAllocs()
				var cpu time.Duration
				for b.Loop() {
					d := open(b, Params{})
					begin := cpuTime(b)
					for range benchBytes / size {
						if _, err := d.Store(data); err != nil {
							b.Fatal(err)
						}
					}
					cpu += cpuTime(b) - begin
					if err := d.Close(); err != nil {
						b.Fatal(err)
					}
				}
				report(b, cpu)
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, kind := range []string{"noise", "text"} {
		for _, size := range []int{64 << 10, 256 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", kind, size>>10), func(b *testing.B) {
				data := benchData(kind, size)
				d := open(b, Params{})
				var all []element.Stored
				for range benchBytes / size {
					all = append(all, mustStore(b, d, data))
				}
				b.ReportAllocs()
				begin := cpuTime(b)
				for b.Loop() {
					for _, s := range all {
						if _, err := s.Load(); err != nil {
							b.Fatal(err)
						}
					}
				}
				report(b, cpuTime(b)-begin)
			})
		}
	}
}
