package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/placement"
	"github.com/manorhq/manor/ent/target"
	"github.com/manorhq/manor/ent/wave"
)

const (
	// askFor is how long asking one gate may take, of all its clusters or tenants.
	askFor = 5 * time.Minute
	// gateTimeout leaves time to store the answer.
	gateTimeout = askFor + time.Minute
	// answerWithin is how long one answer may take.
	answerWithin = 10 * time.Second
)

// gateJob asks one gate after one wave.
type gateJob struct {
	Rollout string `json:"rollout"`
	Wave    int    `json:"wave"`
	Gate    int    `json:"gate"`
}

func (gateJob) Kind() string { return "rollout.gate" }

// toAsk notes that a gate is being asked, and has it asked. If no answer comes,
// as when the process dies that asks, [Next] wants it to be asked again.
func (s *Service) toAsk(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, a Ask, now time.Time) error {
	w, err := waveOf(ctx, tx, row.ID, a.Wave)
	if err != nil {
		return err
	}
	result := gateOf(w, a.Gate)
	result.Gate, result.AskedAt = row.Strategy.Gates[a.Gate].String(), &now
	if err := setGate(ctx, row, w, a.Gate, result); err != nil {
		return err
	}
	return s.queue.Enqueue(ctx, tx, gateJob{Rollout: row.ID, Wave: a.Wave, Gate: a.Gate})
}

// askGate asks a gate that [Next] wants to be asked, unless another process is
// at it, and has the rollout go on from the answer. No transaction is open while
// it asks.
func (s *Service) askGate(ctx context.Context, job gateJob) error {
	_, err := s.cat.Alone(ctx, fmt.Sprintf("manor.rollout.gate.%s.%d", job.Rollout, job.Wave), func(ctx context.Context) error {
		return s.askAlone(ctx, job)
	})
	return err
}

func (s *Service) askAlone(ctx context.Context, job gateJob) error {
	row, err := find(ctx, s.cat.Ent(), job.Rollout)
	if err != nil || row.State != controlplane.RolloutRunning {
		return err
	}
	before, err := s.cat.Ent().Wave.Query().Where(wave.RolloutID(row.ID), wave.Number(job.Wave)).Only(ctx)
	if err != nil {
		return fmt.Errorf("read wave %d of rollout %s: %w", job.Wave, row.ID, err)
	}
	gate := row.Strategy.Gates[job.Gate]
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	wrong, err := s.ask(asking, row, job.Wave, gate)
	if err != nil {
		return err
	}
	return s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		row, err := lock(ctx, tx, job.Rollout)
		if err != nil || row.State != controlplane.RolloutRunning {
			return err
		}
		state, err := loadState(ctx, tx, row)
		if err != nil {
			return err
		}
		w, err := waveOf(ctx, tx, row.ID, job.Wave)
		if err != nil {
			return err
		}
		if !awaits(state, job, before, w) {
			return nil
		}
		return s.noteGate(ctx, tx, row, w, job.Gate, answered(gate, gateOf(w, job.Gate), wrong, state.Now))
	})
}

// awaits reports whether the answer to a gate still counts: the rollout waits for
// it, and the wave has not been opened again since it was asked.
func awaits(s State, job gateJob, before, w *ent.Wave) bool {
	return s.awaited() == Ask{job.Wave, job.Gate} && before.EndedAt != nil && w.EndedAt != nil && before.EndedAt.Equal(*w.EndedAt)
}

// noteGate keeps what is known of a gate and has the rollout go on. One that was
// passed stays so.
func (s *Service) noteGate(ctx context.Context, tx *catalog.Tx, row *ent.Rollout, w *ent.Wave, i int, result controlplane.GateResult) error {
	if gateOf(w, i).Passed() {
		return nil
	}
	if err := setGate(ctx, row, w, i, result); err != nil {
		return err
	}
	if err := announce(ctx, tx, controlplane.EventWaveChanged, row, nil); err != nil {
		return err
	}
	return s.queue.Enqueue(ctx, tx, advanceJob{Rollout: row.ID})
}

func setGate(ctx context.Context, row *ent.Rollout, w *ent.Wave, i int, result controlplane.GateResult) error {
	gates := slices.Clone(w.Gates)
	for len(gates) <= i {
		gates = append(gates, controlplane.GateResult{Gate: row.Strategy.Gates[len(gates)].String()})
	}
	gates[i] = result
	if err := w.Update().SetGates(gates).Exec(ctx); err != nil {
		return fmt.Errorf("note a gate of wave %s of rollout %s: %w", w.Name, row.ID, err)
	}
	return nil
}

func waveOf(ctx context.Context, tx *catalog.Tx, rolloutID string, number int) (*ent.Wave, error) {
	w, err := tx.Wave.Query().Where(wave.RolloutID(rolloutID), wave.Number(number)).Only(ctx)
	if err != nil {
		return nil, fmt.Errorf("read wave %d of rollout %s: %w", number, rolloutID, err)
	}
	return w, nil
}

func gateOf(w *ent.Wave, i int) controlplane.GateResult {
	return WaveState{Gates: w.Gates}.gate(i)
}

// ask asks a gate. wrong says in words what is not as the gate wants it; err is
// of the catalog, and says nothing about the gate.
func (s *Service) ask(ctx context.Context, row *ent.Rollout, number int, gate controlplane.Gate) (wrong string, err error) {
	switch {
	case gate.HTTP != "":
		return askHTTP(ctx, gate), nil
	case gate.On == controlplane.GateOnTenant:
		return s.askTenants(ctx, row.ID, number, gate.SQL)
	}
	return s.askClusters(ctx, row.ID, number, gate.SQL)
}

// gateClient follows no redirect: the answer that a gate expects may be one.
var gateClient = &http.Client{Timeout: answerWithin, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func askHTTP(ctx context.Context, gate controlplane.Gate) (wrong string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, gate.HTTP, nil)
	if err != nil {
		return "it cannot be asked"
	}
	response, err := gateClient.Do(request)
	if failed, ok := errors.AsType[*url.Error](err); ok { // without the URL: what it asks by is nobody's business
		return "no answer: " + failed.Err.Error()
	}
	if err != nil {
		return "no answer: " + err.Error()
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // lets the connection be used again
	if response.StatusCode != gate.Expect {
		return fmt.Sprintf("the answer was %d", response.StatusCode)
	}
	return ""
}

// askClusters asks each cluster of a wave, in its maintenance database.
func (s *Service) askClusters(ctx context.Context, rolloutID string, number int, query string) (wrong string, err error) {
	var ids []string
	err = s.cat.Ent().Target.Query().Where(target.RolloutID(rolloutID), target.Wave(number)).
		Unique(true).Order(target.ByClusterID()).Select(target.FieldClusterID).Scan(ctx, &ids)
	if err != nil {
		return "", fmt.Errorf("read the clusters of wave %d of rollout %s: %w", number, rolloutID, err)
	}
	names, err := fleet.ClusterNames(ctx, s.cat.Ent())
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		err := s.fleet.AsControl(ctx, id, func(conn *pgx.Conn) error { return holds(ctx, conn, nil, query) })
		if errors.Is(err, fleet.ErrNoConnection) { // which says nothing about the cluster
			return "", err
		}
		if err != nil {
			return fmt.Sprintf("on cluster %s: %s", names[id], err), nil
		}
	}
	return "", nil
}

// askTenants asks in the home of each tenant that the wave has changed.
func (s *Service) askTenants(ctx context.Context, rolloutID string, number int, query string) (wrong string, err error) {
	targets, err := s.cat.Ent().Target.Query().
		Where(target.RolloutID(rolloutID), target.Wave(number), target.Status(controlplane.TargetSucceeded)).Order(target.BySlug()).All(ctx)
	if err != nil {
		return "", fmt.Errorf("read the targets of wave %d of rollout %s: %w", number, rolloutID, err)
	}
	for _, t := range targets {
		home, err := s.cat.Ent().Placement.Query().Where(placement.TenantID(t.TenantID)).Only(ctx)
		if ent.IsNotFound(err) { // purged meanwhile
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read the placement of tenant %s: %w", t.Slug, err)
		}
		owner, err := s.fleet.Owner(ctx, home.DatabaseID)
		if err == nil {
			err = owner.Do(ctx, func(conn *pgx.Conn) error { return holds(ctx, conn, home, query) })
		}
		if errors.Is(err, fleet.ErrNoConnection) {
			return "", err
		}
		if err != nil {
			return fmt.Sprintf("for tenant %s: %s", t.Slug, err), nil
		}
	}
	return "", nil
}

// errNot is the answer of a gate that is not passed.
var errNot = errors.New("the answer was false")

// holds asks a question that must be true, in a transaction that changes nothing:
// in a tenant's home, once it has proved to be that, or in none.
func holds(ctx context.Context, conn *pgx.Conn, home *ent.Placement, query string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if home != nil {
		if err := enter(ctx, tx, home); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, query)
	if err != nil {
		return err
	}
	is, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
	if err == nil && !is {
		err = errNot
	}
	return err
}

// enter proves that a session is where a tenant's home is, and looks there only.
func enter(ctx context.Context, tx pgx.Tx, home *ent.Placement) error {
	var here bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM manor.marker WHERE tenant_id = $1 AND schema = $2 AND generation = $3)",
		home.TenantID, home.Schema, home.Generation).Scan(&here)
	if err == nil && !here {
		err = errors.New("its home is not where the catalog has it")
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT set_config('search_path', $1, true)", pgx.Identifier{home.Schema}.Sanitize()+", extensions")
	return err
}
