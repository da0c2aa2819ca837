package doctor

import (
	"log/slog"

	"github.com/manorhq/manor/controlplane/access"
	"github.com/manorhq/manor/controlplane/catalog"
	"github.com/manorhq/manor/controlplane/fleet"
	"github.com/manorhq/manor/controlplane/release"
	"github.com/manorhq/manor/controlplane/rollout"
	"github.com/manorhq/manor/controlplane/tenant"
)

// Service is the doctor room.
type Service struct {
	cat      *catalog.Catalog
	guard    access.Guard
	fleet    *fleet.Service
	releases *release.Service
	tenants  *tenant.Service
	rollouts *rollout.Service
	log      *slog.Logger
}

// New furnishes the room.
func New(cat *catalog.Catalog, f *fleet.Service, r *release.Service, t *tenant.Service, ro *rollout.Service, log *slog.Logger) *Service {
	return &Service{cat: cat, fleet: f, releases: r, tenants: t, rollouts: ro, log: log}
}
