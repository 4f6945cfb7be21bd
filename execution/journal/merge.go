package journal

import (
	"github.com/gorunner/gorunner/element"
	"github.com/gorunner/gorunner/execution/timer"
	"github.com/gorunner/gorunner/plan"
	"github.com/gorunner/gorunner/shuffle"
	"github.com/gorunner/gorunner/state"
)

// Merge returns one commit that changes what commits in a row do. Blocks that came
// and went in between are not in it, and of stages and timers only what they were
// last.
func Merge(commits []*Commit) *Commit {
	m := merger{
		out: &Commit{}, queued: make(map[element.Number]int),
		stages: make(map[plan.StageID]int), timers: make(map[timerID]int),
	}
	for _, c := range commits {
		m.add(c)
	}
	queued := m.out.Queued[:0]
	for _, b := range m.out.Queued {
		if b.Number > 0 {
			queued = append(queued, b)
		}
	}
	clear(m.out.Queued[len(queued):])
	m.out.Queued = queued
	return m.out
}

// merger has what was merged, and where in it things are that may be replaced.
type merger struct {
	out    *Commit
	queued map[element.Number]int
	stages map[plan.StageID]int
	timers map[timerID]int
}

type timerID struct {
	stage plan.StageID
	name  timer.Name
}

func (m *merger) add(c *Commit) {
	out := m.out
	for i := range c.Queued {
		m.queued[c.Queued[i].Number] = len(out.Queued)
		out.Queued = append(out.Queued, c.Queued[i])
	}
	for _, n := range c.Consumed {
		if i, ok := m.queued[n]; ok {
			out.Queued[i] = Block{} // Number 0 is none
			delete(m.queued, n)
		} else {
			out.Consumed = append(out.Consumed, n)
		}
	}
	for i := range c.Stages {
		replace(&out.Stages, m.stages, c.Stages[i].ID, c.Stages[i])
	}
	for i := range c.Timers {
		t := &c.Timers[i]
		replace(&out.Timers, m.timers, timerID{t.Stage, t.Name}, *t)
	}
	out.Parked = append(out.Parked, c.Parked...)
	out.Side, out.SideDone = append(out.Side, c.Side...), append(out.SideDone, c.SideDone...)
	out.Shown, out.Scripts = append(out.Shown, c.Shown...), append(out.Scripts, c.Scripts...)
	out.Metrics = append(out.Metrics, c.Metrics...)
	if c.State.Len() > 0 {
		if out.State == nil {
			out.State = &state.Changes{}
		}
		out.State.Append(c.State)
	}
	out.Draining = out.Draining || c.Draining
}

// replace puts a thing where the one of the same name is, or behind all others.
func replace[K comparable, T any](all *[]T, at map[K]int, name K, thing T) {
	if i, ok := at[name]; ok {
		(*all)[i] = thing
		return
	}
	at[name] = len(*all)
	*all = append(*all, thing)
}

// Later lists what of the commit is to be stored before its rows are written, or
// else stands in them.
func (c *Commit) Later() []*shuffle.Later {
	var all []*shuffle.Later
	seen := make(map[*shuffle.Later]bool)
	add := func(s element.Stored) {
		if l, ok := s.(*shuffle.Later); ok && !seen[l] && l.Unwritten() != nil {
			seen[l] = true
			all = append(all, l)
		}
	}
	addChunks := func(chunks []element.Chunk) {
		for i := range chunks {
			add(chunks[i].Stored)
		}
	}
	addBlock := func(b *element.Block) {
		add(b.Stored)
		for _, p := range b.Pages {
			addChunks(p.Chunks)
		}
	}
	for i := range c.Queued {
		addBlock(&c.Queued[i].Block)
	}
	for i := range c.Side {
		addBlock(&c.Side[i].Block)
	}
	for i := range c.Shown {
		addChunks(c.Shown[i].Chunks)
	}
	return all
}
