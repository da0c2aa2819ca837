package rollout_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/controlplanetest"
	"github.com/manorhq/manor/controlplane/rollout"
)

// noteMoves has the catalog note every state that a row of it enters.
const noteMoves = `
	CREATE TABLE moves (n bigint GENERATED ALWAYS AS IDENTITY, tx xid8 DEFAULT pg_current_xact_id(), kind text, id text, direction text, was text, became text);
	CREATE FUNCTION note_target() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO moves (kind, id, direction, was, became) VALUES ('target', NEW.id, NEW.direction, CASE TG_OP WHEN 'UPDATE' THEN OLD.direction || ' ' || OLD.status END, NEW.status);
		RETURN NULL; END $$;
	CREATE FUNCTION note_state() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO moves (kind, id, direction, was, became) VALUES (TG_ARGV[0], NEW.id, '', CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state);
		RETURN NULL; END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE OF status, direction ON targets FOR EACH ROW EXECUTE FUNCTION note_target();
	CREATE TRIGGER note AFTER INSERT OR UPDATE OF state ON batches FOR EACH ROW EXECUTE FUNCTION note_state('batch');
	CREATE TRIGGER note AFTER INSERT OR UPDATE OF state ON rollouts FOR EACH ROW EXECUTE FUNCTION note_state('rollout');`

// move is what one transaction did to the state of a row.
type move struct {
	Kind, Direction, Was, Became string
	Moves                        int
}

// TestEveryMoveThatTheCatalogSeesIsDrawn plays the ways of a rollout, failures,
// retries and rollbacks among them, and looks each move up in the tables that
// docs/states.md is drawn from.
func TestEveryMoveThatTheCatalogSeesIsDrawn(t *testing.T) {
	t.Parallel()
	p := controlplanetest.New(t)
	catalogSQL(t, p, noteMoves)
	p.Push("v1", controlplanetest.First())
	p.Create(controlplane.NewTenant{}, controlplanetest.Slugs("acme", 6)...)
	p.Exec("acme-003", "INSERT INTO notes VALUES (1, 'x', -1)")
	p.Push("v2", controlplanetest.Second())
	r := p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 1, Concurrency: 1, OnError: controlplane.OnErrorPause})
	rests := func(_ *controlplane.Rollout, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		p.Rested(r.ID)
	}
	rests(p.ResumeRollout(t.Context(), r.ID))
	p.Exec("acme-003", "DELETE FROM notes")
	rests(p.RetryRollout(t.Context(), r.ID))
	rests(p.RollbackRollout(t.Context(), r.ID, controlplane.RollbackRequest{Tenant: "acme-002"}))
	if r = rollback(t, p, r.ID); r.State != controlplane.RolloutRolledBack {
		t.Fatalf("state %s", r.State)
	}
	p.Exec("acme-005", "INSERT INTO notes VALUES (1, 'x', -1)")
	r = p.Rollout(controlplane.NewRollout{Release: "v2", BatchSize: 2, Concurrency: 1, OnError: controlplane.OnErrorRollback})
	if r.State != controlplane.RolloutRolledBack {
		t.Fatalf("state %s", r.State)
	}

	seen := map[string]int{}
	for _, m := range movesOf(t, p) {
		seen[m.Kind]++
		if !drawn(m) {
			t.Errorf("%d times a %s %s went from %q to %s, which is not drawn", m.Moves, m.Kind, m.Direction, m.Was, m.Became)
		}
	}
	if seen["target"] < 10 || seen["batch"] < 4 || seen["rollout"] < 8 {
		t.Errorf("too little happened: %v", seen)
	}
}

// movesOf are the moves that the catalog noted, each once: from what a row was
// before a transaction to what it was after.
func movesOf(t *testing.T, p *controlplanetest.Plane) []move {
	t.Helper()
	rows, err := p.Catalog().Query(t.Context(), `WITH net AS (
			SELECT DISTINCT kind, tx, id, first_value(was) OVER w AS was, last_value(direction) OVER w AS direction, last_value(became) OVER w AS became
			FROM moves WINDOW w AS (PARTITION BY kind, tx, id ORDER BY n RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING))
		SELECT kind, direction, coalesce(was, '') AS was, became, count(*)::int AS moves FROM net
		WHERE was IS DISTINCT FROM became AND was IS DISTINCT FROM direction || ' ' || became GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4`)
	if err != nil {
		t.Fatal(err)
	}
	moves, err := pgx.CollectRows(rows, pgx.RowToStructByName[move])
	if err != nil {
		t.Fatal(err)
	}
	return moves
}

// drawn looks a move up.
func drawn(m move) bool {
	switch m.Kind {
	case "rollout": // planned and running are stored by one transaction
		return m.Was == "" && m.Became == "running" || controlplane.RolloutState(m.Was).CanBecome(controlplane.RolloutState(m.Became))
	case "batch":
		return m.Was == "" && m.Became == rollout.BatchStates[0] || rollout.BatchCanBecome(m.Was, m.Became)
	}
	from, was, old := strings.Cut(m.Was, " ")
	before, after := controlplane.TargetStatus(was), controlplane.TargetStatus(m.Became)
	if old && from != m.Direction {
		return before.CanTurn(after)
	}
	return before.CanBecome(after, controlplane.Direction(m.Direction))
}
