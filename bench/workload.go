package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// workload is what is run on each contender.
type workload struct {
	name string
	// records is what throughput is counted in, unit its name.
	records int
	unit    string
	// args are the arguments of the Go pipelines; nil for a Python workload.
	args []string
	// textBytes is the size of the text of a word count; 0 if there is none.
	textBytes int
	// alone leaves out the peer, which cannot run the workload.
	alone bool
}

// workloads returns all workloads, their sizes multiplied by scale.
func workloads(scale float64) []workload {
	n := func(records int) int { return max(1, int(float64(records)*scale)) }
	goLoad := func(name, program string, records int, more ...string) workload {
		return workload{name: name, records: records, unit: "records", args: append([]string{
			"--workload=" + program, "--records=" + strconv.Itoa(records),
		}, more...)}
	}
	alone := goLoad("gbk-1e7", "gbk", n(10_000_000), "--keys=1000", "--value_bytes=100")
	alone.alone = true
	return []workload{
		{name: "wordcount", records: n(100_000_000), unit: "bytes", args: []string{"--workload=wordcount"}, textBytes: n(100_000_000)},
		goLoad("gbk-1e6", "gbk", n(1_000_000), "--keys=1000", "--value_bytes=100"),
		goLoad("reshuffle-1e6", "reshuffle", n(1_000_000)),
		goLoad("reshuffle-1e7", "reshuffle", n(10_000_000)),
		goLoad("combine-1e7", "combine", n(10_000_000)),
		alone,
		{name: "python-wordcount", records: n(10_000_000), unit: "bytes", textBytes: n(10_000_000)},
	}
}

// The text of the word counts: words of a vocabulary, frequent ones far more
// often than rare ones, as in a language.
const (
	vocabulary   = 50_000
	wordsPerLine = 12
	zipfExponent = 1.1
)

// writeText makes the file of about size bytes, unless it is there, and returns
// its name and the number of its words. Equal sizes give equal texts.
func writeText(dir string, size int) (string, int, error) {
	file := filepath.Join(dir, fmt.Sprintf("text-%d.txt", size))
	if words, err := os.ReadFile(file + ".words"); err == nil {
		n, err := strconv.Atoi(strings.TrimSpace(string(words)))
		return file, n, err
	}
	out, err := os.Create(file)
	if err != nil {
		return "", 0, err
	}
	words, err := generate(out, size)
	if err = errors.Join(err, out.Close()); err != nil {
		return "", 0, fmt.Errorf("generate text: %w", err)
	}
	// Written last: an interrupted generation starts afresh.
	return file, words, os.WriteFile(file+".words", fmt.Appendln(nil, words), 0o644)
}

func generate(out io.Writer, size int) (words int, err error) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	zipf := rand.NewZipf(random, zipfExponent, 1, vocabulary-1)
	w := bufio.NewWriter(out)
	for written := 0; written < size; words++ {
		end := byte(' ')
		if words%wordsPerLine == wordsPerLine-1 {
			end = '\n'
		}
		word := append(spell(zipf.Uint64()), end)
		n, err := w.Write(word)
		if err != nil {
			return words, err
		}
		written += n
	}
	return words, w.Flush()
}

// spell makes a word of letters out of a number, at least two letters long.
func spell(n uint64) []byte {
	const consonants, vowels = "bcdfghklmnprstvz", "aeiou"
	var word []byte
	for first := true; first || n > 0; first = false {
		word = append(word, consonants[n%16], vowels[n/16%5])
		n /= 80
	}
	return word
}
