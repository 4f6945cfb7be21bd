package engine

import "testing"

func TestTimeSpan(t *testing.T) {
	var s timeSpan
	s.end(3)
	if got := s.length(); got != 0 {
		t.Errorf("before it has begun: %v", got)
	}
	s.begin(5)
	if got := s.length(); got != 0 {
		t.Errorf("as it begins: %v", got)
	}
	s.begin(7)
	s.end(9)
	s.begin(11)
	if got := s.length(); got != 4 {
		t.Errorf("got %v, want 4ns", got)
	}
}
