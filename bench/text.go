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
