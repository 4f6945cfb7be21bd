package shuffle

import (
	"maps"
	"testing"
)

func TestBudgetCountsForThoseAbove(t *testing.T) {
	server := NewBudget(nil, 100)
	a, b := NewBudget(server, 60), NewBudget(server, 0)
	queues := a.Account("queues")
	queues.Set(50)
	b.Account("views").Add(30)
	if a.Over() || b.Over() || server.Used() != 80 {
		t.Fatalf("a over %v, b over %v, server uses %d", a.Over(), b.Over(), server.Used())
	}
	queues.Add(11)
	if !a.Over() || b.Over() {
		t.Errorf("after 61 of 60 bytes: a over %v, b over %v", a.Over(), b.Over())
	}
	b.Account("views").Add(10)
	if !b.Over() {
		t.Error("b is not over, though its server uses 101 of 100 bytes")
	}
	queues.Set(0)
	if a.Over() || b.Over() || a.Used() != 0 || server.Used() != 40 {
		t.Errorf("after all was given back: a over %v and uses %d, server uses %d", a.Over(), a.Used(), server.Used())
	}
	if got, want := b.Usage(), map[string]int64{"views": 40}; !maps.Equal(got, want) {
		t.Errorf("usage of b is %v, want %v", got, want)
	}
}

func TestBudgetWithoutLimitIsNeverOver(t *testing.T) {
	b := NewBudget(nil, 0)
	b.Account("queues").Set(1 << 60)
	if b.Over() {
		t.Error("over no limit")
	}
	var none *Budget
	if none.Over() {
		t.Error("no budget is over")
	}
}
