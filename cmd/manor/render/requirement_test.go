package render_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

// lastWord notes when something was last said, and the longest silence before.
type lastWord struct {
	clock   *clock
	at      time.Time
	longest time.Duration
}

func (w *lastWord) Write(b []byte) (int, error) {
	w.longest = max(w.longest, w.clock.at.Sub(w.at))
	w.at = w.clock.at
	return len(b), nil
}

// TestRequirement13NothingThatWaitsIsSilentForTenSeconds: commands look every
// two seconds, and sometimes find the same a little sooner than the last time.
func TestRequirement13NothingThatWaitsIsSilentForTenSeconds(t *testing.T) {
	c := &clock{now}
	said := &lastWord{clock: c, at: now}
	bar := render.New(render.Config{Err: said, Now: c.now}).Progress("Rolling out v2")
	for i := range 100 {
		c.at = now.Add(2*time.Second*time.Duration(i) + time.Duration(100-i)*time.Millisecond)
		bar.Update(1, 100, "99 pending")
	}
	bar.Close()
	if said.longest > 10*time.Second || said.at == now {
		t.Errorf("it was silent for %s", said.longest)
	}
}

// TestRequirement13TenantThatIsStuckIsNamed where a rollout is shown, and where
// it is waited for once the tenant takes long.
func TestRequirement13TenantThatIsStuckIsNamed(t *testing.T) {
	out := &bytes.Buffer{}
	p := render.New(render.Config{Out: out, Now: func() time.Time { return now }})
	r := &controlplane.Rollout{ID: "r_1", State: controlplane.RolloutRunning, InHand: []controlplane.InHand{{Tenant: "acme", Since: now.Add(-12 * time.Second)}}}
	if got := p.Waits(r); !strings.Contains(got, "acme in hand for 12s") {
		t.Errorf("who waits is told %q", got)
	}
	if err := p.Rollout(r); err != nil || !strings.Contains(out.String(), "acme for 12s") {
		t.Errorf("who looks is shown\n%s%v", out, err)
	}
	r.InHand[0].Since = now.Add(-8 * time.Second)
	if got := p.Waits(r); got != "" {
		t.Errorf("of what is quick, who waits is told %q", got)
	}
}
