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
	b.Account("views").Add(30)
	if !b.Over() {
		t.Error("b is not over, though it has 60 of the 121 bytes that its server uses of 100")
	}
	queues.Set(0)
	if a.Over() || b.Over() || a.Used() != 0 || server.Used() != 60 {
		t.Errorf("after all was given back: a over %v and uses %d, server uses %d", a.Over(), a.Used(), server.Used())
	}
	if got, want := b.Usage(), map[string]int64{"views": 60}; !maps.Equal(got, want) {
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

func TestBudgetsMakeRoomForEachOther(t *testing.T) {
	server := NewBudget(nil, 100)
	a, b := NewBudget(server, 100), NewBudget(server, 100)
	of := func(b *Budget) *Account { return b.Account("queues") }
	for _, test := range []struct {
		a, b         int64
		aOver, bOver bool
	}{
		{a: 100, b: 0},
		{a: 90, b: 11, aOver: true},
		{a: 90, b: 35, aOver: true},
		{a: 90, b: 36, aOver: true, bOver: true}, // too much of what is not given back
		{a: 51, b: 51, aOver: true, bOver: true},
		{a: 49, b: 49},
	} {
		of(a).Set(test.a)
		of(b).Set(test.b)
		if a.Over() != test.aOver || b.Over() != test.bOver {
			t.Errorf("a with %d is over: %v, b with %d: %v", test.a, a.Over(), test.b, b.Over())
		}
	}
	if !a.OverShare(0.4) || a.OverShare(0.98) || !a.OverShare(0.97) {
		t.Error("a with 49, as b, is over the wrong shares")
	}
}

func TestBudgetThatIsClosedCountsForNobody(t *testing.T) {
	server := NewBudget(nil, 100)
	a, b := NewBudget(server, 100), NewBudget(server, 100)
	a.Account("queues").Set(60)
	b.Account("queues").Set(60)
	if !b.Over() {
		t.Fatal("b is not over its half")
	}
	a.Close()
	a.Close()
	a.Account("queues").Set(0)
	a.Account("views").Add(7)
	if server.Used() != 60 || b.Over() {
		t.Errorf("after a is closed, %d are in use, and b with 60 of 100 is over: %v", server.Used(), b.Over())
	}
}
