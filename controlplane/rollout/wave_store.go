package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/wave"
)

// insertWaves stores the waves of a rollout, none of which has begun.
func insertWaves(ctx context.Context, tx *catalog.Tx, rolloutID string, waves []controlplane.Wave) error {
	rows := make([]*ent.WaveCreate, len(waves))
	for i, w := range waves {
		rows[i] = tx.Wave.Create().SetRolloutID(rolloutID).SetNumber(i + 1).SetName(w.Name).SetGates([]controlplane.GateResult{})
	}
	if err := tx.Wave.CreateBulk(rows...).Exec(ctx); err != nil {
		return fmt.Errorf("store the waves of rollout %s: %w", rolloutID, err)
	}
	return nil
}

// wavesOf reads the waves of a rollout, in order.
func wavesOf(ctx context.Context, client *ent.Client, rolloutID string) ([]*ent.Wave, error) {
	rows, err := client.Wave.Query().Where(wave.RolloutID(rolloutID)).Order(wave.ByNumber()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the waves of rollout %s: %w", rolloutID, err)
	}
	return rows, nil
}

// waveStates reads the waves as [Next] looks at them.
func waveStates(ctx context.Context, tx *catalog.Tx, row *ent.Rollout) ([]WaveState, error) {
	rows, err := wavesOf(ctx, tx.Client(), row.ID)
	if err != nil {
		return nil, err
	}
	open, changed := map[int]int{}, map[int]int{}
	err = tx.Conn(func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT t.wave, count(*) FILTER (WHERE t.status IN ('pending', 'running', 'deferred', 'unknown') AND t.direction = $2
				AND NOT EXISTS (SELECT FROM tenants n WHERE n.id = t.tenant_id AND n.state = 'provisioning')),
			count(*) FILTER (WHERE t.status NOT IN ('current', 'skipped'))
			FROM targets t WHERE t.rollout_id = $1 GROUP BY 1`, row.ID, direction(row.State))
		if err != nil {
			return err
		}
		var number, unfinished, touched int
		_, err = pgx.ForEachRow(rows, []any{&number, &unfinished, &touched}, func() error {
			open[number], changed[number] = unfinished, touched
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count the waves of rollout %s: %w", row.ID, err)
	}
	states := make([]WaveState, len(rows))
	for i, w := range rows {
		states[i] = WaveState{Number: w.Number, Name: w.Name, Open: open[w.Number], Changed: changed[w.Number],
			Soak: soakOf(row, w.Number), Passed: w.PassedAt != nil, Gates: w.Gates}
		if w.EndedAt != nil {
			states[i].Ended = *w.EndedAt
		}
	}
	return states, nil
}

func soakOf(row *ent.Rollout, number int) time.Duration {
	return time.Duration(row.Strategy.Waves[number-1].Soak)
}

// mark notes that a wave has ended, or that the rollout goes on after it.
func (s *Service) mark(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, d Decision, now time.Time) error {
	change := tx.Wave.Update().Where(wave.RolloutID(row.ID), wave.Number(max(d.End, d.Pass)))
	if d.End > 0 {
		change.SetEndedAt(now)
	} else {
		change.SetPassedAt(now)
	}
	if err := change.Exec(ctx); err != nil {
		return fmt.Errorf("note how far wave %d of rollout %s is: %w", max(d.End, d.Pass), row.ID, err)
	}
	return announce(ctx, tx, controlplane.EventWaveChanged, row, nil)
}

// reopenWaves has the gates asked again that were not passed, and the waves
// passed again of which a target is to be done: only is 0, or the first such wave.
func reopenWaves(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, from int) error {
	rows, err := wavesOf(ctx, tx.Client(), row.ID)
	if err != nil {
		return err
	}
	for _, w := range rows {
		change := w.Update()
		switch {
		case from > 0 && w.Number >= from:
			change.ClearEndedAt().ClearPassedAt().SetGates([]controlplane.GateResult{})
		case w.PassedAt == nil:
			change.SetGates(slices.DeleteFunc(slices.Clone(w.Gates), func(g controlplane.GateResult) bool { return !g.Passed() }))
		default:
			continue
		}
		if err := change.Exec(ctx); err != nil {
			return fmt.Errorf("open wave %d of rollout %s again: %w", w.Number, row.ID, err)
		}
	}
	return nil
}

// waveNumber finds a wave by its name.
func waveNumber(row *ent.Rollout, name string) (int, error) {
	var names []string
	for i, w := range row.Strategy.Waves {
		if w.Name == name {
			return i + 1, nil
		}
		names = append(names, w.Name)
	}
	return 0, controlplane.Errorf(controlplane.NotFound, "rollout %s has no wave %s", row.ID, name).WithHint("its waves: %v", names)
}

// waveStatuses are the waves of a rollout as people see them.
func (s *Service) waveStatuses(ctx context.Context, row *ent.Rollout) ([]controlplane.WaveStatus, error) {
	rows, err := wavesOf(ctx, s.cat.Ent(), row.ID)
	if err != nil {
		return nil, err
	}
	counts, err := waveCounts(ctx, s.cat, row.ID)
	if err != nil {
		return nil, err
	}
	statuses := make([]controlplane.WaveStatus, len(rows))
	waits := false // for a wave before it
	for i, w := range rows {
		c := counts[w.Number]
		status := controlplane.WaveStatus{Number: w.Number, Name: w.Name, Targets: c.Sum(), Counts: c, EndedAt: w.EndedAt, PassedAt: w.PassedAt, Gates: w.Gates}
		status.State = waveState(status, soakOf(row, w.Number), waits, i == len(rows)-1, time.Now())
		if status.State == controlplane.WaveSoaking {
			until := w.EndedAt.Add(soakOf(row, w.Number))
			status.SoaksTo = &until
		}
		waits = waits || status.State != controlplane.WavePassed
		statuses[i] = status
	}
	return statuses, nil
}

// waveState is where a wave is: one that is done and the last has nothing to wait for.
func waveState(w controlplane.WaveStatus, soak time.Duration, waits, last bool, now time.Time) controlplane.WaveState {
	done := w.Counts.Done() == w.Counts.Sum()
	switch {
	case w.PassedAt != nil, last && done && !waits:
		return controlplane.WavePassed
	case waits:
		return controlplane.WaveWaiting
	case !done || w.EndedAt == nil:
		return controlplane.WaveRunning
	case now.Before(w.EndedAt.Add(soak)):
		return controlplane.WaveSoaking
	}
	return controlplane.WaveGated
}

// waveCounts counts the targets of each wave by status.
func waveCounts(ctx context.Context, cat *catalog.Catalog, rolloutID string) (map[int]controlplane.Counts, error) {
	rows, err := cat.Pool().Query(ctx, "SELECT wave, status, count(*) FROM targets WHERE rollout_id = $1 GROUP BY 1, 2", rolloutID)
	if err != nil {
		return nil, fmt.Errorf("count the waves of rollout %s: %w", rolloutID, err)
	}
	counts := map[int]controlplane.Counts{}
	var number, n int
	var status controlplane.TargetStatus
	_, err = pgx.ForEachRow(rows, []any{&number, &status, &n}, func() error {
		if counts[number] == nil {
			counts[number] = controlplane.Counts{}
		}
		counts[number][status] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count the waves of rollout %s: %w", rolloutID, err)
	}
	return counts, nil
}
