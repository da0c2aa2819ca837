package daemon

// Drain is the beginning of Stop.
func (d *Daemon) Drain() { d.rollouts.Drain() }
