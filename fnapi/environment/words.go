package environment

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program finds the program that line means and the arguments it gives it.
// Beam's runners take the line for the path of an executable, blanks included;
// where there is none, it is split into words the way a shell does.
func program(line string) (path string, args []string, err error) {
	if path, err := executable(line); err == nil {
		return path, nil, nil
	} else if errors.Is(err, os.ErrPermission) {
		return "", nil, fmt.Errorf("command %q: %w", line, err)
	}
	words, err := split(line)
	if err != nil {
		return "", nil, fmt.Errorf("command %q: %w", line, err)
	}
	if len(words) == 0 {
		return "", nil, fmt.Errorf("command %q is empty", line)
	}
	path, err = executable(words[0])
	if err != nil {
		return "", nil, fmt.Errorf("command %q: %w", line, err)
	}
	return path, words[1:], nil
}

// executable returns the absolute path of a program: workers have a working
// directory of their own, so that relative paths mean nothing to them.
func executable(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", err
	}
	return filepath.Abs(path)
}

// split cuts a command line into words at blanks. Quotes and backslashes mean
// what they mean to a shell; nothing else does.
func split(line string) ([]string, error) {
	var (
		words []string
		word  strings.Builder
		open  bool // a word has begun, be it an empty one in quotes
		quote rune // the quote that is open, or 0
		skip  bool // the character before was a backslash
	)
	for _, c := range line {
		switch {
		case skip:
			if quote == '"' && !strings.ContainsRune("\"\\$`", c) {
				word.WriteByte('\\')
			}
			word.WriteRune(c)
			skip = false
		case c == '\\' && quote != '\'':
			skip, open = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("quote %c is not closed", quote)
	}
	if skip {
		return nil, errors.New("nothing follows the last backslash")
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}

// quote makes one word for split.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
