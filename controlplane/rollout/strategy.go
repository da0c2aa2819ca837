package rollout

import (
	"context"
	"fmt"

	"github.com/manorhq/manor/controlplane"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/ent"
	"github.com/manorhq/manor/ent/strategy"
)

// ApplyStrategy keeps a strategy under its name, in place of one that was kept
// there before. Rollouts that run keep the one they started with.
func (s *Service) ApplyStrategy(ctx context.Context, by controlplane.Actor, wanted controlplane.Strategy, dryRun bool) (*controlplane.Strategy, error) {
	if err := s.guard.See(by, "strategy.apply", wanted.Name); err != nil {
		return nil, err
	}
	if err := controlplane.ValidateName("strategy", wanted.Name); err != nil {
		return nil, err
	}
	if err := wanted.Validate(); err != nil {
		return nil, err
	}
	if _, err := compileLayout(wanted); err != nil || dryRun {
		return &wanted, err
	}
	return &wanted, s.cat.InTx(ctx, func(tx *catalog.Tx) error {
		if err := s.guard.Permit(ctx, tx, by, "strategy.apply", wanted.Name, wanted); err != nil {
			return err
		}
		err := tx.Strategy.Create().SetID(wanted.Name).SetStrategy(wanted).SetCreatedBy(by.String()).
			OnConflictColumns(strategy.FieldID).UpdateNewValues().Exec(ctx)
		if err != nil {
			return fmt.Errorf("store strategy %s: %w", wanted.Name, err)
		}
		return nil
	})
}

// Strategies lists those that are kept, by name.
func (s *Service) Strategies(ctx context.Context, by controlplane.Actor) ([]controlplane.Strategy, error) {
	if err := s.guard.See(by, "strategy.list", ""); err != nil {
		return nil, err
	}
	rows, err := s.cat.Ent().Strategy.Query().Order(strategy.ByID()).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the strategies: %w", err)
	}
	strategies := make([]controlplane.Strategy, len(rows))
	for i, row := range rows {
		strategies[i] = row.Strategy
	}
	return strategies, nil
}

// Strategy returns one that is kept.
func (s *Service) Strategy(ctx context.Context, by controlplane.Actor, name string) (*controlplane.Strategy, error) {
	if err := s.guard.See(by, "strategy.show", name); err != nil {
		return nil, err
	}
	return strategyNamed(ctx, s.cat.Ent(), name)
}

func strategyNamed(ctx context.Context, client *ent.Client, name string) (*controlplane.Strategy, error) {
	row, err := client.Strategy.Get(ctx, name)
	if ent.IsNotFound(err) {
		return nil, controlplane.Errorf(controlplane.NotFound, "there is no strategy %s", name).WithHint("`manor strategy list` lists them")
	}
	if err != nil {
		return nil, fmt.Errorf("read strategy %s: %w", name, err)
	}
	return &row.Strategy, nil
}

// useNamed puts a kept strategy in place of its name.
func useNamed(ctx context.Context, client *ent.Client, n *controlplane.NewRollout) (err error) {
	if n.StrategyName == "" {
		return nil
	}
	if n.Strategy != nil {
		return controlplane.Errorf(controlplane.Invalid, "a strategy and the name of one are given").WithHint("leave one of them out")
	}
	n.Strategy, err = strategyNamed(ctx, client, n.StrategyName)
	n.StrategyName = ""
	return err
}
