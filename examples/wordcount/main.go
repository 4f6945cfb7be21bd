// Command wordcount counts the words of text files: a plain Beam pipeline, to
// which gorunner is added by an import.
//
//	wordcount --input='poems/*.txt' --output=counts.txt
//	wordcount --input='poems/*.txt' --output=counts.txt --endpoint=127.0.0.1:8073
//
// A word is what Python's re module calls one or more of [\w'], so that the
// counts are those of apache_beam.examples.wordcount.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"unicode"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"

	gorunner "github.com/gorunner/gorunner/sdks/go"
)

func init() {
	register.Function2x0(splitWords)
	register.Function2x1(formatCount)
	register.Emitter1[string]()
}

// splitWords emits each word of the line.
func splitWords(line string, emit func(string)) {
	start := -1
	for i, r := range line {
		switch in := inWord(r); {
		case in && start < 0:
			start = i
		case !in && start >= 0:
			emit(line[start:i])
			start = -1
		}
	}
	if start >= 0 {
		emit(line[start:])
	}
}

func inWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || r == '_' || r == '\''
}

func formatCount(word string, count int) string { return fmt.Sprintf("%s: %d", word, count) }

func main() {
	input := flag.String("input", "", "text file or glob to read (required)")
	output := flag.String("output", "", "file to write counts to (required)")
	name := flag.String("runner", gorunner.Name, "Beam runner")
	flag.Parse()
	beam.Init()
	if *input == "" || *output == "" {
		log.Fatal("wordcount: --input and --output are required")
	}

	p, s := beam.NewPipelineWithRoot()
	lines := textio.Read(s, *input)
	words := beam.ParDo(s, splitWords, lines)
	counts := stats.Count(s, words)
	textio.Write(s, *output, beam.ParDo(s, formatCount, counts))

	if _, err := beam.Run(context.Background(), *name, p); err != nil {
		log.Fatalf("wordcount: %v", err)
	}
}
