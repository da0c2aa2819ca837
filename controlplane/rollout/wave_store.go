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
	counted := map[int]WaveState{}
	err = tx.Conn(func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT t.wave, count(*) FILTER (WHERE t.status IN ('pending', 'running', 'deferred', 'unknown') AND t.direction = $2
				AND NOT EXISTS (SELECT FROM tenants n WHERE n.id = t.tenant_id AND n.state = 'provisioning')),
			count(*) FILTER (WHERE t.status NOT IN ('current', 'skipped')),
			count(*) FILTER (WHERE t.status NOT IN ('current', 'skipped', 'rolled_back') AND (t.status NOT IN ('pending', 'deferred') OR t.version <> t.from_version))
			FROM targets t WHERE t.rollout_id = $1 GROUP BY 1`, row.ID, direction(row.State))
		if err != nil {
			return err
		}
		var w WaveState
		_, err = pgx.ForEachRow(rows, []any{&w.Number, &w.Open, &w.Changed, &w.Begun}, func() error {
			counted[w.Number] = w
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count the waves of rollout %s: %w", row.ID, err)
	}
	states := make([]WaveState, len(rows))
	for i, w := range rows {
		states[i] = waveState(row, w, counted[w.Number])
	}
	return states, nil
}

// waveState is a wave of which the targets are counted.
func waveState(row *ent.Rollout, w *ent.Wave, counted WaveState) WaveState {
	s := counted
	s.Number, s.Name, s.Soak, s.Passed, s.Gates = w.Number, w.Name, soakOf(row, w.Number), w.PassedAt != nil, w.Gates
	if w.EndedAt != nil {
		s.Ended = *w.EndedAt
	}
	return s
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

// forgetAnswers has the gates asked again that were not passed, once the rollout goes on.
func forgetAnswers(ctx context.Context, tx *catalog.Tx, id string) error {
	rows, err := tx.Wave.Query().Where(wave.RolloutID(id), wave.PassedAtIsNil()).All(ctx)
	if err != nil {
		return fmt.Errorf("read the waves of rollout %s: %w", id, err)
	}
	for _, w := range rows {
		if err := w.Update().SetGates(passedOf(w.Gates)).Exec(ctx); err != nil {
			return fmt.Errorf("forget the answers after wave %s of rollout %s: %w", w.Name, id, err)
		}
	}
	return nil
}

// passedOf are the gates that are behind a rollout.
func passedOf(gates []controlplane.GateResult) []controlplane.GateResult {
	return slices.DeleteFunc(slices.Clone(gates), func(g controlplane.GateResult) bool { return !g.Passed() })
}

// reopen has waves end once more, soak, and be asked their gates, since targets
// of them are tried again: what was true before them says nothing of what is after.
func reopen(ctx context.Context, tx *catalog.Tx, id string, numbers []int) error {
	err := tx.Wave.Update().Where(wave.RolloutID(id), wave.NumberIn(numbers...)).
		ClearEndedAt().ClearPassedAt().SetGates([]controlplane.GateResult{}).Exec(ctx)
	if err != nil {
		return fmt.Errorf("open waves %v of rollout %s again: %w", numbers, id, err)
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
	waits, later := false, 0 // for a wave before it; targets to be done after it
	for _, c := range counts {
		later += c.Sum() - c.Done()
	}
	for i, w := range rows {
		c := counts[w.Number]
		later -= c.Sum() - c.Done()
		status := controlplane.WaveStatus{Number: w.Number, Name: w.Name, Targets: c.Sum(), Counts: c, EndedAt: w.EndedAt, PassedAt: w.PassedAt, Gates: w.Gates}
		status.State = stateOfWave(status, soakOf(row, w.Number), waits, later == 0, time.Now())
		if status.State == controlplane.WaveSoaking {
			until := w.EndedAt.Add(soakOf(row, w.Number))
			status.SoaksTo = &until
		}
		waits = waits || status.State != controlplane.WavePassed
		statuses[i] = status
	}
	return statuses, nil
}

// stateOfWave is where a wave is: one that is done, and after which nothing is
// to be done, has nothing to wait for.
func stateOfWave(w controlplane.WaveStatus, soak time.Duration, waits, last bool, now time.Time) controlplane.WaveState {
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
