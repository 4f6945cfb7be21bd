//go:build unix

package early

import (
	"go/parser"
	"go/token"
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestJobPort(t *testing.T) {
	for _, tt := range []struct {
		args string
		want int
	}{
		{"--job_port 9000 --log_level info --log_kind json --serve_http=false", 9000},
		{"-serve_http=true -job_port=9000", 9000},
		{"--job_port=1 --job_port 2", 2},
		{"--job_port", 0},
		{"--job_port=0", 0},
		{"--job_port=x", 0},
		{"--job_port=65536", 0},
		{"--job_port -1", 0},
		{"serve job_port 80 --job_ports=5", 0},
		{"", 0},
	} {
		if got := jobPort(strings.Fields(tt.args)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.args, got, tt.want)
		}
	}
	if got := jobPort([]string{"", "-"}); got != 0 {
		t.Errorf("empty arguments: %d", got)
	}
}

// TestOpen has a client connect before anybody accepts.
func TestOpen(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(free.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	if open(port) != nil {
		t.Error("a port was opened that is in use")
	}
	free.Close()
	opened = open(port)
	if opened == nil {
		t.Fatal("the port was not opened")
	}
	client, err := net.Dial("tcp", free.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if Take(port+1) != nil {
		t.Error("the socket was given for another port")
	}
	file := Take(port)
	if file == nil || Take(port) != nil {
		t.Fatal("the socket is not given once")
	}
	listener, err := net.FileListener(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
}

// TestImports keeps the package early: see its comment.
func TestImports(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "early.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{"os": true, "strconv": true, "strings": true, "syscall": true}
	for _, i := range file.Imports {
		if path, err := strconv.Unquote(i.Path.Value); err != nil || !allowed[path] {
			t.Errorf("import of %s, %v", i.Path.Value, err)
		}
	}
}
