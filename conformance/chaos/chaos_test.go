//go:build linux

package chaos

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestDrawIsTheSameForASeed(t *testing.T) {
	victims := []Victim{TheRunner, AWorker, Everybody, Relapse}
	draw := func(seed uint64) []Kill { return Draw(rand.New(rand.NewPCG(seed, 0)), victims, 50, 1000) }
	a, b := draw(1), draw(1)
	if !slices.Equal(a, b) {
		t.Errorf("%v and %v for the same seed", a, b)
	}
	if slices.Equal(a, draw(2)) {
		t.Error("the same kills for another seed")
	}
	met := map[Victim]bool{}
	for i, k := range a {
		met[k.Victim] = true
		if k.At < 0 || k.At >= 1000 || i > 0 && k.At < a[i-1].At {
			t.Errorf("kill %d is at %d", i, k.At)
		}
	}
	if len(met) != len(victims) {
		t.Errorf("of 50 kills only %v", met)
	}
}

func TestParseVictims(t *testing.T) {
	all := "runner,worker,runner+workers,runner twice"
	if got, err := ParseVictims(all); err != nil || len(got) != 4 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseVictims("runner,client"); err == nil {
		t.Error("a client is a victim")
	}
}

func TestProcesses(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo; wait")
	cmd.Env = append(os.Environ(), "GORUNNER_CHAOS_TEST="+t.Name())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // the child is there
		t.Fatal(err)
	}
	children := Descendants(cmd.Process.Pid)
	if len(children) != 1 || !slices.Contains(Descendants(os.Getpid()), children[0]) {
		t.Errorf("descendants of the shell are %v, those of the test %v", children, Descendants(os.Getpid()))
	}
	marked := Marked("GORUNNER_CHAOS_TEST", t.Name())
	for _, pid := range append(children, cmd.Process.Pid) {
		if !slices.Contains(marked, pid) {
			t.Errorf("process %d is not among the marked %v", pid, marked)
		}
		if err := KillProcess(pid); err != nil {
			t.Error(err)
		}
	}
	_ = cmd.Wait()
	if err := KillProcess(cmd.Process.Pid); err != nil {
		t.Errorf("to kill what has ended: %v", err)
	}
}
