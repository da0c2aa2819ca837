package fleet

import (
	"testing"

	"pgregory.net/rapid"
)

// TestProcessesNeverTakeMoreThanThereIs lets processes ask, take seats, open
// and close connections in any order, as pools do.
func TestProcessesNeverTakeMoreThanThereIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(fewest, 12).Draw(t, "limit")
		processes := make([]tally, rapid.IntRange(1, 4).Draw(t, "processes"))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			p := &processes[rapid.IntRange(0, len(processes)-1).Draw(t, "process")]
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0:
				want, second := rapid.IntRange(0, 8).Draw(t, "want"), p.spare == 0 && rapid.Bool().Draw(t, "second")
				have := p.allotted + p.spare
				more, spare := granted(limit, taken(processes)-have, have, want, second)
				p.allotted, p.spare = p.allotted+more, p.spare+spare
			case 1:
				if p.canSit() {
					p.first++
				}
			case 2:
				if p.first > 0 && p.canSitSecond() {
					p.second++
				}
			case 3:
				if p.open < p.first+p.second && p.canOpen() {
					p.open++
				}
			case 4: // one that is not in use
				if p.open > 0 && p.first+p.second < p.open {
					p.open--
				}
			case 5:
				p.first = max(0, p.first-1)
			case 6:
				if p.second > 0 { // with its connection
					p.second, p.open = p.second-1, max(0, p.open-1)
				}
				if p.spare > 0 && p.second == 0 && p.open <= p.allotted {
					p.spare = 0
				}
			case 7:
				p.allotted = min(p.allotted, p.needed())
			}
			if taken(processes) > limit {
				t.Fatalf("%d of %d are taken: %+v", taken(processes), limit, processes)
			}
			if p.open > p.allotted+p.spare {
				t.Fatalf("more are open than allotted: %+v", *p)
			}
		}
	})
}

func taken(processes []tally) (n int) {
	for _, p := range processes {
		n += p.allotted + p.spare
	}
	return n
}

func TestOneConnectionIsKeptForWhoHasOneAlready(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, others, have, want int
		second                    bool
		more, spare               int
	}{
		{limit: 5, want: 9, more: 4},
		{limit: 5, others: 3, want: 9, more: 1},
		{limit: 5, others: 4, want: 1},
		{limit: 5, others: 4, second: true, spare: 1},
		{limit: 5, others: 4, want: 1, second: true, spare: 1},
		{limit: 5, others: 5, want: 1, second: true},
		{limit: 5, others: 2, have: 2, want: 3, second: true, spare: 1},
		{limit: 2, want: 1, second: true, more: 1, spare: 1},
		{limit: 1, want: 1, more: 1},
		{limit: 5, others: 9, want: 1, second: true}, // after the limit was lowered
	} {
		if more, spare := granted(c.limit, c.others, c.have, c.want, c.second); more != c.more || spare != c.spare {
			t.Errorf("%+v: %d and %d", c, more, spare)
		}
	}
}

// TestSecondConnectionBeyondTheSpareIsAskedFor: a session may have two others
// beside it, as a rehearsal does.
func TestSecondConnectionBeyondTheSpareIsAskedFor(t *testing.T) {
	t.Parallel()
	p := &pool{limit: 49, queue: []*ticket{{second: true}}}
	p.allotted = 1
	if r, _ := p.wanted(); !r.second || r.want != 0 {
		t.Errorf("while the spare is not held, %+v is asked for", r)
	}
	p.spare = 1
	if r, _ := p.wanted(); r.second || r.want == 0 {
		t.Errorf("while it is, %+v is asked for", r)
	}
}
