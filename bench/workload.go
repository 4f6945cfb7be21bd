package main

import (
	"path/filepath"
	"strconv"
)

// workload is what is run on each contender.
type workload struct {
	name string
	// records is what throughput is counted in, unit its name.
	records int
	unit    string
	// args are the arguments of the Go pipelines; nil for a Python workload.
	args []string
	// script is the Python program, scriptArgs its arguments.
	script     string
	scriptArgs []string
	// dropIn says that the client starts the runner itself, and that it is the
	// time from its own start to its end that counts.
	dropIn bool
	// textBytes is the size of the text of a word count; 0 if there is none.
	textBytes int
	// memory is our server's --memory; empty is its default.
	memory string
	// alone says why the peer is left out; empty if it is not.
	alone string
	// bounded says that the workload is about memory: there is no ceiling to
	// compare with, because that holds all data.
	bounded bool
	// inFlight is the number of bundles that the workload allows to be in flight;
	// 0 is any.
	inFlight int
	// twice says that the workload is also run as two jobs at the same time.
	twice bool
	bar   bar
}

// bar is what a workload has to reach; 0 is nothing.
type bar struct{ share, prism float64 }

// Why Prism does not run a workload.
const (
	prismMemory = "would need 17 GB and more: see \"What Prism cannot run\""
)

// scaled multiplies numbers of records, of which at least one is left.
func scaled(n int, scale float64) int { return max(1, int(float64(n)*scale)) }

// workloads returns all workloads, their sizes multiplied by scale.
func workloads(scale float64) []workload {
	all := append(goWorkloads(), pythonWorkloads()...)
	for i := range all {
		w := &all[i]
		w.records, w.textBytes = scaled(w.records, scale), int(float64(w.textBytes)*scale)
		if w.unit == "bytes" {
			w.textBytes = w.records
		}
		count := "--records=" + strconv.Itoa(w.records)
		if w.args != nil && w.textBytes == 0 {
			w.args = append(w.args, count)
		}
		if w.script != "" && w.textBytes == 0 {
			w.scriptArgs = append(w.scriptArgs, count)
		}
	}
	return all
}

func goWorkload(name string, records int, program string, more ...string) workload {
	return workload{name: name, records: records, unit: "records", args: append([]string{"--workload=" + program}, more...)}
}

func (w workload) wants(share, prism float64) workload {
	w.bar = bar{share, prism}
	return w
}

func (w workload) without(peer string) workload {
	w.alone = peer
	return w
}

func (w workload) within(memory string) workload {
	w.memory, w.bounded = memory, true
	return w
}

func goWorkloads() []workload {
	words := goWorkload("wordcount", 100_000_000, "wordcount").wants(0.85, 4.5)
	words.unit, words.textBytes = "bytes", words.records
	singles := goWorkload("singles", 5000, "singles").wants(0.85, 1.8)
	singles.inFlight = 1
	grouped := goWorkload("gbk-1e7", 10_000_000, "gbk", "--keys=1000").wants(0.75, 0).without(prismMemory)
	grouped.memory, grouped.twice = "1GiB", true
	return []workload{
		goWorkload("pardo", 3_000_000, "pardo"),
		goWorkload("reshuffle-1e7", 10_000_000, "reshuffle").wants(0.85, 3),
		goWorkload("gbk-1e6", 1_000_000, "gbk", "--keys=1000").wants(0.85, 10),
		goWorkload("gbk-1e6-keys", 1_000_000, "gbk", "--keys=1000000"),
		grouped,
		goWorkload("gbk-1e8", 100_000_000, "gbk", "--keys=1000000").without(prismMemory).within("1GiB"),
		goWorkload("gbk-hot-key", 10_000_000, "gbk", "--keys=1").without(prismMemory).within("512MiB"),
		goWorkload("combine-1e3-keys", 10_000_000, "combine", "--keys=1000"),
		goWorkload("combine-1e6-keys", 1_000_000, "combine", "--keys=1000000").wants(0.80, 8),
		words,
		goWorkload("cogbk-1e6", 1_000_000, "cogbk", "--keys=100000").wants(0.80, 5.5),
		goWorkload("sideinput", 200_000, "sideinput", "--keys=100000").wants(0.80, 7),
		goWorkload("stateful", 60_000, "stateful", "--keys=1000").wants(0.80, 2.7),
		goWorkload("streaming", 1_000_000, "streaming", "--keys=100", "--bundle=1000").wants(0.80, 4),
		singles,
		goWorkload("values-1MB", 500, "values", "--value_bytes=1000000"),
	}
}

// wordCountScript is the word count that comes with Beam; it has no --records.
const wordCountScript = "wordcount.py"

func pythonWorkload(name string, records int, script string, more ...string) workload {
	return workload{name: "python-" + name, records: records, unit: "records", script: script, scriptArgs: more}
}

func pythonWorkloads() []workload {
	words := pythonWorkload("wordcount", 10_000_000, wordCountScript).wants(0, 1.5)
	words.unit = "bytes"
	tiny := pythonWorkload("tiny", 1000, "gbk.py", "--keys=10").wants(0, 1)
	tiny.dropIn = true
	return []workload{
		words,
		pythonWorkload("gbk-3e5", 300_000, "gbk.py", "--keys=1000").wants(0, 1.5),
		pythonWorkload("gbk-3e6", 3_000_000, "gbk.py", "--keys=1000").wants(0, 1.5),
		tiny,
	}
}

// client returns the command line of the client, without what it must be told of
// the runner.
func (w workload) client(b binaries, s settings) ([]string, error) {
	var text []string
	if w.textBytes > 0 {
		file, words, err := writeText(b.cache, w.textBytes)
		if err != nil {
			return nil, err
		}
		text = []string{"--input=" + file, "--words=" + strconv.Itoa(words)}
	}
	if w.args != nil {
		client := append([]string{b.pipelines, "--environment_type=LOOPBACK"}, w.args...)
		return append(client, text...), nil
	}
	python := s.python
	if !filepath.IsAbs(python) {
		python = filepath.Join(s.root, python)
	}
	client := append([]string{python, filepath.Join(s.root, "bench", "pipelines", w.script)}, w.scriptArgs...)
	if w.script == wordCountScript {
		client = append(client, text[0], "--output="+filepath.Join(b.cache, "python-out"))
	}
	return client, nil
}
