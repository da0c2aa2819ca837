package fleet

// keptBack is how many of a cluster's connections nobody gets but who works on
// one already and cannot go on without a second: so that whoever waits for a
// second one waits for work that is under way, and never for each other.
const keptBack = 1

// tally counts the connections of this process to one cluster: those that it
// may have and those that it has. A seat is the right to a connection. Who
// works has one; second seats are those taken by who has one already.
type tally struct {
	free     bool // the cluster has no budget
	allotted int  // connections that the catalog gives this process
	spare    int  // and 1 more while the one kept back is this process's
	share    int  // first seats at most, since other processes have none; 0: as many as are allotted

	first, second int // seats taken
	open          int // connections, those being opened and being closed too
}

// canSit reports whether there is a first seat.
func (t tally) canSit() bool {
	most := t.allotted
	if t.share > 0 {
		most = min(most, t.share)
	}
	return t.free || t.first+max(t.second, t.spare) < most+t.spare
}

// canSitSecond reports whether there is a second seat.
func (t tally) canSitSecond() bool {
	return t.free || t.first+t.second < t.allotted+t.spare
}

// canOpen reports whether who has a seat may open a connection. Otherwise one
// that nobody uses is to be closed before, and there is one.
func (t tally) canOpen() bool {
	return t.free || t.open < t.allotted+min(t.spare, t.second)
}

// needed is how many connections have to stay allotted.
func (t tally) needed() int {
	return max(0, t.open-min(t.spare, t.second), t.first+t.second-t.spare)
}

// step is how many connections are asked for at a time, so that the catalog is
// asked now and then only, and no process takes much that it does not need.
func step(limit int) int { return min(max(limit/8, 1), 8) }

// granted is how much of what is wanted a process gets where others have the
// rest: first seats leave alone what is kept back.
func granted(limit, others, have, want int, second bool) (more, spare int) {
	more = min(want, max(0, limit-min(keptBack, limit-1)-others-have))
	if second && others+have+more < limit {
		spare = 1
	}
	return more, spare
}

// fairShare is what a process may keep of a cluster's connections while others
// of so many have none.
func fairShare(limit, processes int) int {
	return max(1, (limit-keptBack)/max(1, processes))
}
