package checkpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// The scripts drive a coordinator or a recovery by hand. An outcome is that of the
// oldest act without one whose text has a word.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		s := &script{}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	now time.Duration
	c   *Coordinator
	r   *Recovery
	// acts are those that have no outcome yet.
	acts []Act
	// put is the last entry that was to be put.
	put *Entry
	out strings.Builder
}

func (s *script) at() time.Time { return time.Unix(0, 0).Add(s.now) }

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.out.Reset()
	switch d.Cmd {
	case "recover":
		s.acts, s.c = nil, nil
		s.r = NewRecovery("j", "me")
		if d.HasArg("expect") {
			s.r.Expect()
		}
		s.give(s.r.Begin())
	case "coordinate":
		out, err := s.r.Result()
		if err != nil {
			return err.Error()
		}
		cfg := DefaultConfig()
		cfg.Interval, cfg.Keep, cfg.MaxUploads, cfg.MaxTries = 10*time.Second, 1, 2, 2
		s.acts = nil
		s.c = NewCoordinator(cfg, s.at(), out)
		s.step(Tick{})
	case "reject":
		s.give(s.r.Reject("bad bytes"))
	case "result":
		out, err := s.r.Result()
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&s.out, "epoch %d, base %s, end %s, problems %q\n", out.Epoch(), entryText(out.Base), entryText(out.End), out.Problems)
	case "wait":
		wait, err := time.ParseDuration(d.Input)
		if err != nil {
			t.Fatal(err)
		}
		s.now += wait
		s.step(Tick{})
	case "request":
		var id, kind string
		d.ScanArgs(t, "id", &id)
		d.ScanArgs(t, "kind", &kind)
		s.step(Request{ID: RequestID(id), Kind: EntryKind(kind)})
	case "forget":
		var slot int
		d.ScanArgs(t, "slot", &slot)
		s.step(Forget{Slot: Slot(slot)})
	case "end":
		s.step(End{Keep: d.HasArg("keep")})
		fmt.Fprintf(&s.out, "ended: %v\n", s.c.Ended())
	case "ended":
		fmt.Fprintf(&s.out, "%v\n", s.c.Ended())
	case "outcome":
		s.outcomes(t, d.Input)
	default:
		t.Fatalf("command %s", d.Cmd)
	}
	if s.c != nil {
		if wake, ok := s.c.Wake(); ok {
			fmt.Fprintf(&s.out, "wake in %v\n", wake.Sub(s.at()))
		}
	}
	return s.out.String()
}

// outcomes hands over one outcome a line: a word of the act, the result, and what
// comes with it.
func (s *script) outcomes(t *testing.T, input string) {
	t.Helper()
	for line := range strings.Lines(input) {
		fields := strings.Fields(line)
		n := slices.IndexFunc(s.acts, func(a Act) bool { return strings.Contains(actText(a), fields[0]) })
		if n < 0 {
			fmt.Fprintf(&s.out, "no act %q\n", fields[0])
			return
		}
		o := Outcome{Act: s.acts[n], Problem: "it is broken"}
		s.acts = slices.Delete(s.acts, n, n+1)
		for r := OK; r <= Refused; r++ {
			if r.String() == fields[1] {
				o.Result = r
			}
		}
		for _, word := range fields[2:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "file":
				kind, name, _ := strings.Cut(value, "/")
				o.Cut.Files = append(o.Cut.Files, File{Kind: FileKind(kind), Name: name, Size: 1})
			case "latest":
				o.Slot = slotOf(t, value)
			case "slot":
				o.Names = append(o.Names, slotOf(t, value).Blob())
			case "blob":
				o.Names = append(o.Names, BlobName(value))
			case "entry":
				if o.Entry = s.put; value != "mine" {
					o.Entry = makeEntry(t, value)
				}
			}
		}
		if s.c != nil {
			s.step(o)
		} else {
			s.give(s.r.Step(o))
		}
	}
}

func slotOf(t *testing.T, text string) Slot {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return Slot(n)
}

// makeEntry makes an entry of "kind:slot:runner:kept,kept", with one file.
func makeEntry(t *testing.T, text string) *Entry {
	t.Helper()
	f := strings.Split(text, ":")
	e := &Entry{Job: "j", Kind: EntryKind(f[0]), Slot: slotOf(t, f[1]), Epoch: 1, Runner: f[2]}
	switch {
	case e.Kind == Claim:
		e.Epoch = Epoch(e.Slot)
	case e.Kind != Ended:
		e.Files = []File{{Kind: Snapshot, Name: "s" + f[1], Size: 1, Blob: dataBlob(1, int(e.Slot), fileID{kind: Snapshot, name: "s" + f[1]})}}
	}
	for kept := range strings.SplitSeq(f[3], ",") {
		if kept != "" {
			e.Kept = append(e.Kept, slotOf(t, kept))
		}
	}
	if b := e.Encode(); len(b) == 0 {
		t.Fatal("no bytes")
	} else if _, err := Decode(b, e.Slot); err != nil {
		t.Fatal(err)
	}
	return e
}

func (s *script) step(e Event) { s.give(s.c.Step(s.at(), e)) }

func (s *script) give(acts []Act) {
	for _, act := range acts {
		fmt.Fprintln(&s.out, actText(act))
		if p, ok := act.(PutEntry); ok {
			s.put = p.Entry
		}
		if IsAnswered(act) {
			s.acts = append(s.acts, act)
		}
	}
}

func entryText(e *Entry) string {
	if e == nil {
		return "none"
	}
	text := fmt.Sprintf("%s %d of epoch %d by %s, keeps %d", e.Kind, e.Slot, e.Epoch, e.Runner, e.Kept)
	for i := range e.Files {
		text += "\n     " + string(e.Files[i].Blob)
	}
	return text
}

func actText(act Act) string {
	switch a := act.(type) {
	case TakeCut:
		return fmt.Sprintf("take a cut for a %s", a.Kind)
	case Upload:
		return "upload " + string(a.File.Blob)
	case ReleaseCut:
		return "release the cut"
	case PutEntry:
		return "put " + entryText(a.Entry)
	case ReadEntry:
		return fmt.Sprintf("read entry %d", a.Slot)
	case PutLatest:
		return fmt.Sprintf("put latest: %d", a.Slot)
	case ReadLatest:
		return "read latest"
	case ListLog:
		return "list the log"
	case ListData:
		return "list the files"
	case CheckFiles:
		return "check the files of " + entryText(a.Entry)
	case Delete:
		return fmt.Sprintf("delete %s", a.Names)
	case Report:
		return fmt.Sprintf("report to %q: %s; %s", a.Requests, entryText(a.Entry), a.Problem)
	case Fenced:
		return "fenced by " + entryText(a.By)
	}
	return "?"
}
