package jobdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Message is something that the user was told.
type Message struct {
	// Seq is its number in the job's history.
	Seq        int64  `json:"seq"`
	Time       string `json:"time"`
	Importance int32  `json:"importance"`
	Text       string `json:"text"`
}

// Log is a file of messages: a line for each, with a checksum. It is as large as
// who writes lets it become: see [Log.Replace].
type Log struct {
	path string
	file *os.File // nil until something is written
}

// Read returns the messages, and how many lines are damaged. A last line without
// an end is not one of them: it was being written, and is removed.
func (l *Log) Read() (messages []Message, damaged int, err error) {
	data, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	if len(whole) < len(data) {
		if err := os.Truncate(l.path, int64(len(whole))); err != nil {
			return nil, 0, err
		}
	}
	for line := range bytes.Lines(whole) {
		var m Message
		if err := unsealLine(line, &m); err != nil {
			damaged++
			continue
		}
		messages = append(messages, m)
	}
	return messages, damaged, nil
}

func appendLine(to []byte, m *Message) ([]byte, error) {
	value, err := json.Marshal(m) // has no line breaks
	if err != nil {
		return to, err
	}
	return fmt.Appendf(to, "%08x %s\n", checksum(value), value), nil
}

func unsealLine(line []byte, m *Message) error {
	var sum uint32
	head, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if _, err := fmt.Sscanf(string(head), "%08x", &sum); err != nil || checksum(value) != sum {
		return ErrDamaged
	}
	return json.Unmarshal(value, m)
}

// Append adds a message, which is there when the process has ended.
func (l *Log) Append(m *Message) error {
	line, err := appendLine(nil, m)
	if err != nil {
		return err
	}
	if l.file == nil {
		if l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return err
		}
	}
	_, err = l.file.Write(line)
	return err
}

// Replace makes the messages all that there are.
func (l *Log) Replace(messages []Message) error {
	var data []byte
	for i := range messages {
		var err error
		if data, err = appendLine(data, &messages[i]); err != nil {
			return err
		}
	}
	return errors.Join(l.Close(), replace(l.path, data))
}

// Close closes the file; more can be written.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}
