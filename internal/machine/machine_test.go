package machine

import (
	"testing"
	"testing/fstest"
)

func TestMemory(t *testing.T) {
	const meminfo = "MemTotal:       1048576 kB\nMemFree:         18730968 kB\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing known": {},
		"no groups":     {map[string]string{"proc/meminfo": meminfo}, 1 << 30},
		"no limit":      {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 1 << 30},
		"a limit":       {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n"}, 1000},
		"limit of a group above": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2000\n",
		}, 2000},
		"a container":     {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/x/y\n", "sys/fs/cgroup/memory.max": "3000\n"}, 3000},
		"version 1":       {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "3:cpu:/a\n4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4000\n"}, 4000},
		"more than there": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 1 << 30},
		"rubbish":         {map[string]string{"proc/meminfo": "MemTotal: x kB\nMemTotal:\n", "proc/self/cgroup": "what\n0::\n::\n", "sys/fs/cgroup/memory.max": "-1"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for file, text := range test.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := memory(root); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestThisMachine(t *testing.T) {
	if n := Memory(); n < 0 {
		t.Errorf("memory of %d bytes", n)
	}
	if free, ok := FreeDisk(t.TempDir()); ok && free < 0 {
		t.Errorf("%d bytes free", free)
	}
	if _, ok := FreeDisk("/no/such/directory"); ok || InMemory("/no/such/directory") {
		t.Error("something is known of no directory")
	}
}
