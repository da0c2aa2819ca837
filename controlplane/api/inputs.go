package api

import "github.com/manorhq/manor/controlplane"

// What requests carry beside the nouns. Paths, queries and bodies are huma's
// tags; what a value may be is the nouns' and the rooms' business.
type (
	none struct{}

	body[T any] struct{ Body T }

	named struct {
		Name string `path:"name"`
	}
	namedDryRun struct {
		Name   string `path:"name"`
		DryRun bool   `query:"dry_run" doc:"check everything, change nothing"`
	}
	namedBody[T any] struct {
		Name string `path:"name"`
		Body T
	}

	slugged struct {
		Slug string `path:"slug"`
	}
	sluggedDryRun struct {
		Slug   string `path:"slug"`
		DryRun bool   `query:"dry_run" doc:"check everything, change nothing"`
	}
	sluggedBody[T any] struct {
		Slug string `path:"slug"`
		Body T
	}

	identified struct {
		ID string `path:"id"`
	}
	identifiedBody[T any] struct {
		ID   string `path:"id"`
		Body T
	}
)

// strategyChange is the body of apply-strategy.
type strategyChange struct {
	Strategy controlplane.Strategy `json:"strategy"`
	DryRun   bool                  `json:"dry_run,omitempty"`
}

// newTenants is the body of create-tenants.
type newTenants struct {
	Tenants []controlplane.NewTenant `json:"tenants" nullable:"false" minItems:"1"`
	DryRun  bool                     `json:"dry_run,omitempty" doc:"check everything, change nothing"`
}

// purge is the body of purge-tenant.
type purge struct {
	Confirm string `json:"confirm" doc:"the slug once more"`
	DryRun  bool   `json:"dry_run,omitempty" doc:"check everything, change nothing"`
}

// verify is the body of verify-status.
type verify struct {
	DryRun bool `json:"dry_run,omitempty" doc:"only compare"`
}

// examine is the body of doctor.
type examine struct {
	Fix bool `json:"fix,omitempty" doc:"mend what is safe; default: change nothing"`
}

// newDefault is the body of set-default-release.
type newDefault struct {
	Version string `json:"version,omitempty" doc:"default: the last of the release"`
	DryRun  bool   `json:"dry_run,omitempty" doc:"check everything, change nothing"`
}

// tenantQuery is [controlplane.TenantQuery] as a query string.
type tenantQuery struct {
	Select         string `query:"select" doc:"CEL over tenant.*"`
	Search         string `query:"search" doc:"in slug and external id"`
	IncludeDeleted bool   `query:"include_deleted"`
	Cursor         string `query:"cursor" doc:"next of the page before"`
	Limit          int    `query:"limit" minimum:"0" maximum:"1000" doc:"0: 100"`
}

// targetQuery is [controlplane.TargetQuery] as a query string.
type targetQuery struct {
	ID     string `path:"id"`
	Status string `query:"status"`
	Cursor string `query:"cursor" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"0: 100"`
}
