package machine

import (
	"bufio"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Cores says how long all cores of the machine together have been busy and idle
// since it was started, in ticks.
type Cores struct{ Busy, Idle int64 }

// CoreTimes reads them; ok is false if nobody knows.
func CoreTimes() (c Cores, ok bool) { return coreTimes(os.DirFS("/")) }

// coreTimes reads the first line of Linux' /proc/stat: the times of user, nice,
// system, idle, iowait, irq, softirq and steal, and of guests, which are among the
// users'. What others have stolen is as good as busy.
func coreTimes(root fs.FS) (c Cores, ok bool) {
	f, err := root.Open("proc/stat")
	if err != nil {
		return c, false
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	if !lines.Scan() {
		return c, false
	}
	fields := strings.Fields(lines.Text())
	if len(fields) < 9 || fields[0] != "cpu" {
		return c, false
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Cores{}, false
		}
		if i == 3 || i == 4 {
			c.Idle += n
		} else {
			c.Busy += n
		}
	}
	return c, true
}
