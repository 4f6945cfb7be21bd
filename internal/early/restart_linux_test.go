package early

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// sayWhat lets the test binary say what has become of a process instead of testing.
const sayWhat = "EARLY_TEST_SAY"

func TestMain(m *testing.M) {
	if os.Getenv(sayWhat) == "" {
		os.Exit(m.Run())
	}
	slack, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_TIMERSLACK, 0, 0)
	_, again := os.LookupEnv(restarted)
	port := jobPort(os.Args[1:])
	fmt.Println(os.Getpid(), slack >= timerSlack, again, port != 0 && Take(port) != nil)
}

func TestRestart(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(free.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for _, tt := range []struct{ args, env, want string }{
		{"serve", "", "true false false"},
		{"--job_port=" + port, "", "true false true"},
		{"version", "", "false false false"},
		{"serve", restarted + "=", "false false false"},
		{"--job_port=" + port, restarted + "=0", "false false false"},
		{"--job_port=" + port, restarted + "=x", "false false false"},
	} {
		cmd := exec.Command(os.Args[0], strings.Fields(tt.args)...)
		cmd.Env = append(os.Environ(), sayWhat+"=1")
		if tt.env != "" {
			cmd.Env = append(cmd.Env, tt.env)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", tt.args, err, out)
		}
		if want := strconv.Itoa(cmd.Process.Pid) + " " + tt.want; strings.TrimSpace(string(out)) != want {
			t.Errorf("%s, %s: %s, want %s", tt.args, tt.env, out, want)
		}
	}
}
