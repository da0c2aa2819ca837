package render_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/manorhq/manor/cmd/manor/render"
	"github.com/manorhq/manor/controlplane"
)

var update = flag.Bool("update", false, "write the golden files anew")

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

var (
	cluster = controlplane.Cluster{
		ID: "c_1", Name: "east", Address: controlplane.Address{Hosts: []string{"db1:5432", "db2:5432"}},
		AppAddress: &controlplane.Address{Hosts: []string{"[::1]:6432"}}, Login: "manor", TLS: controlplane.TLS{Mode: "verify-full", RootCert: "/etc/ca.pem"},
		Region: "eu", Labels: controlplane.Labels{"ring": "canary", "disk": "fast"}, Capacity: 500, Density: 1000, Extensions: []string{"citext", "pgcrypto"},
		State: controlplane.ClusterActive, Version: 150018, SystemID: "7710371777991942801", Skipped: []string{"one step", "another step"}, Connections: 24, MaxConnections: 97, Tenants: 120, CreatedAt: ago(50 * time.Hour),
	}
	west    = controlplane.Cluster{Name: "west", Address: controlplane.Address{Hosts: []string{"w:5432"}}, Labels: controlplane.Labels{}, State: controlplane.ClusterDraining, Version: 180004, CreatedAt: ago(45 * time.Second)}
	failure = &controlplane.Failure{
		Message: `check constraint "issues_estimate_check" of relation "issues" is violated by some row`, SQLState: "23514",
		Version: "20261005090000", File: "20261005090000_track.sql", Statement: 4, SQL: "ALTER TABLE issues\n  VALIDATE CONSTRAINT issues_estimate_check", Hint: "mend the rows",
	}
	syntax = &controlplane.Failure{
		Message: `syntax error at or near "TABEL"`, SQLState: "42601", File: "3_c.sql", Statement: 2, Position: 35,
		SQL: "-- größer\nCREATE INDEX a ON b (c);\nALTER TABEL x ADD y int",
	}
	acme = controlplane.Tenant{
		ID: "tn_1", Slug: "acme", ExternalID: "4711", State: controlplane.TenantActive, Settled: true, Isolation: controlplane.IsolationSchema, Cluster: "east",
		Region: "eu", Tier: "pro", Labels: controlplane.Labels{"ring": "canary"}, Release: "v2", Version: "20261012090000",
		Placement: controlplane.Placement{Database: "manor_shared_001", Schema: "t_abc", Role: "t_abc_app", Logins: controlplane.Logins{"t_abc_a", "t_abc_b"}, Generation: 1},
		CreatedAt: ago(5*time.Minute + 3*time.Second), UpdatedAt: ago(time.Minute),
	}
	globex  = controlplane.Tenant{Slug: "globex", State: controlplane.TenantSuspended, Isolation: controlplane.IsolationDatabase, Cluster: "west", Labels: controlplane.Labels{}, CreatedAt: ago(400 * 24 * time.Hour)}
	initech = controlplane.Tenant{Slug: "initech", State: controlplane.TenantFailed, Isolation: controlplane.IsolationSchema, Cluster: "east", Labels: controlplane.Labels{}, Failure: failure, CreatedAt: ago(3 * time.Hour)}
	release = controlplane.Release{
		Name: "v2", Hash: "9938788c83971c0cfbfc044672e2b040ed68339a7099b7c00bf54b66aaae036c", Extensions: []string{"citext"}, Default: "2", CreatedAt: ago(time.Hour), CreatedBy: "user:ada",
		Versions: []controlplane.Version{
			{Version: "1", Name: "1_a.sql", Statements: 3, TxMode: "file", Down: controlplane.DownFile},
			{Version: "2", Name: "2_b.sql", Statements: 1, TxMode: "none", Down: controlplane.DownNone, Reason: "UPDATE rewrites rows"},
			{Version: "3", Name: "3_c.sql", Statements: 12, TxMode: "file", Down: controlplane.DownUnknown},
		},
	}
	diff = controlplane.Diff{
		File: "20261120120000_add_teams.sql", Files: map[string]string{
			"20261120120000_add_teams.sql":      "-- Create \"teams\" table\nCREATE TABLE \"teams\" (\n    \"id\" bigint NOT NULL,\n    PRIMARY KEY (\"id\")\n);\n",
			"down/20261120120000_add_teams.sql": "DROP TABLE \"teams\";\n", "atlas.sum": "h1:x\n",
		},
		Drops: []string{"column members.fullname, with its values"}, Notes: []string{"index a on b: CREATE INDEX blocks writers of the table"},
		Renames: []controlplane.Rename{{Kind: "column", From: "members.fullname", To: []string{"members.name", "members.nick"}}},
		ByHand:  []controlplane.ObjectDifference{{Kind: "view", Name: "progress", Do: controlplane.DifferenceChange}},
	}
	finished = ago(time.Minute)
	rollout  = controlplane.Rollout{
		ID: "r_4f7k2m", State: controlplane.RolloutFailed, Release: "v2", Version: "3", Select: `tenant.labels.ring == "canary"`, BatchSize: 20, Concurrency: 8,
		OnError: controlplane.OnErrorContinue, Targets: 220, Counts: controlplane.Counts{controlplane.TargetSucceeded: 219, controlplane.TargetFailed: 1},
		CreatedBy: "user:ada", CreatedAt: ago(75 * time.Second), FinishedAt: &finished,
	}
	target = controlplane.Target{
		Rollout: "r_4f7k2m", Tenant: "initech", Cluster: "east", Wave: "canary", Status: controlplane.TargetFailed, From: "2", Version: "2", Attempts: 1, Batch: 7,
		Failure: failure, DurationMS: 42, UpdatedAt: finished,
	}
	away     = controlplane.Unreached{Cluster: "west", Tenants: 100, Error: controlplane.Errorf(controlplane.Unavailable, "cannot reach cluster west: no answer in time")}
	findings = []controlplane.Finding{
		{Kind: controlplane.FindingHomeWithoutTenant, Cluster: "east", Database: "manor_shared_001", Object: "t_abc", Message: "schema t_abc belongs to no tenant, and has no marker",
			Advice: "look at it, and drop it by hand if it is to go"},
		{Kind: controlplane.FindingVersion, Cluster: "east", Database: "manor_shared_001", Tenant: "acme", Message: "tenant acme is at version 2 by its revisions, and at version 3 in the catalog", Remedy: "correct the catalog"},
		{Kind: controlplane.FindingInvalidIndex, Cluster: "east", Database: "t_xyz", Tenant: "globex", Object: "t_xyz.notes_idx", Message: "index notes_idx on table notes of tenant globex is invalid",
			Remedy: "drop it, without holding anybody up", Advice: "build it again where it is wanted"},
		{Kind: controlplane.FindingHardening, Cluster: "east", Object: "REVOKE x", Message: "cluster east is not hardened: REVOKE x", Advice: "a superuser can do it", Note: true},
	}
	lint = controlplane.Lint{Files: 22, Errors: 1, Warnings: 3, Notes: 1, Silenced: 2, Items: []controlplane.Warning{
		warning(controlplane.WarnSum, "atlas.sum", 0, ""),
		warning(controlplane.WarnNoWayBack, "2_b.sql", 1, "DROP TABLE a;"),
		warning(controlplane.WarnDropTable, "2_b.sql", 1, "DROP TABLE a;"),
		warning(controlplane.WarnDropColumn, "2_b.sql", 12, "ALTER TABLE b\n    DROP c;"),
		warning(controlplane.WarnQualifiedName, "down/3 c.sql", 3, "DROP TABLE x.y;"),
	}}
	refused = controlplane.TenantResult{Slug: "acme", Error: &controlplane.Error{Code: controlplane.Conflict, Message: "slug acme is taken"}}
)

// warning is one about the second statement of a file.
func warning(code controlplane.WarningCode, file string, line int, sql string) controlplane.Warning {
	w := controlplane.NewWarning(code, "this is done")
	w.File, w.Line, w.SQL = file, line, sql
	if line > 0 {
		w.Version, w.Statement = "2", 2
	}
	return w
}

// documents are everything the package writes, by golden file.
var documents = map[string]func(*render.Printer) error{
	"clusters":      func(p *render.Printer) error { return p.Clusters([]controlplane.Cluster{cluster, west}) },
	"clusters-none": func(p *render.Printer) error { return p.Clusters(nil) },
	"cluster":       func(p *render.Printer) error { return p.Cluster(&cluster) },
	"cluster-added": func(p *render.Printer) error { return p.ClusterDone(&cluster, "added") },
	"workers-none":  func(p *render.Printer) error { return p.Workers(nil) },
	"workers": func(p *render.Printer) error {
		return p.Workers([]controlplane.Worker{
			{ID: "db-a/17-k3xq", Version: "v1.4.0", StartedAt: ago(3 * time.Hour), SeenAt: ago(2 * time.Second), Batches: []controlplane.WorkerBatch{
				{Rollout: "r_4f7k2m", Batch: 7, Cluster: "east", Since: ago(12 * time.Second), Targets: 20, Done: 3, InHand: []controlplane.InHand{
					{Tenant: "hooli", Since: ago(time.Second)}, {Tenant: "acme", Since: ago(11 * time.Second)}, {Tenant: "globex", Since: ago(2 * time.Second)}, {Tenant: "piedpiper", Since: ago(0)}}},
				{Rollout: "r_4f7k2m", Batch: 9, Cluster: "west", Since: ago(time.Second), Targets: 20}}},
			{ID: "db-a/18-p0zz", Version: "v1.4.0", StartedAt: ago(3 * time.Hour), SeenAt: ago(time.Second)},
			{ID: "db-a/19-7yqd", Version: "v1.4.0", StartedAt: ago(time.Hour), SeenAt: ago(time.Second), Homes: []controlplane.InHand{{Tenant: "umbrella", Since: ago(3 * time.Second)}}},
			{ID: "db-b/4-9w1e", Version: "v1.4.0", StartedAt: ago(50 * time.Hour), SeenAt: ago(25 * time.Second), Silent: true, Batches: []controlplane.WorkerBatch{
				{Rollout: "r_4f7k2m", Batch: 8, Cluster: "east", Since: ago(70 * time.Second), Targets: 20, Done: 19, InHand: []controlplane.InHand{{Tenant: "initech", Since: ago(40 * time.Second)}}}}},
		})
	},
	"tenants": func(p *render.Printer) error {
		return p.Tenants(controlplane.Page[controlplane.Tenant]{Items: []controlplane.Tenant{acme, globex, initech}, Next: "initech"})
	},
	"tenants-none":   func(p *render.Printer) error { return p.Tenants(controlplane.Page[controlplane.Tenant]{}) },
	"tenant":         func(p *render.Printer) error { return p.Tenant(&acme) },
	"tenant-failed":  func(p *render.Printer) error { return p.Tenant(&initech) },
	"tenant-created": func(p *render.Printer) error { return p.TenantCreated(&acme, "created") },
	"tenant-moved":   func(p *render.Printer) error { return p.TenantDone(&globex, "suspended") },
	"results": func(p *render.Printer) error {
		return p.TenantResults([]controlplane.TenantResult{{Slug: "acme", Tenant: &acme}, refused, {Slug: "initech", Tenant: &initech}}, "created")
	},
	"results-many": func(p *render.Printer) error {
		var many []controlplane.TenantResult
		for range 40 {
			many = append(many, controlplane.TenantResult{Slug: "acme", Tenant: &acme}, controlplane.TenantResult{Slug: "globex", Tenant: &globex})
		}
		return p.TenantResults(append(many, refused), "created")
	},
	"dsn": func(p *render.Printer) error {
		return p.DSN(&controlplane.DSN{Tenant: "acme", Hosts: []string{"db1:5432", "[::1]:6432"}, Database: "manor_shared_001", Schema: "t_abc", User: "t_abc_a", TLS: controlplane.TLS{Mode: "verify-full"}, Version: "3"})
	},
	"dsn-revealed": func(p *render.Printer) error {
		return p.DSN(&controlplane.DSN{Tenant: "acme", Hosts: []string{"db1:5432"}, Database: "d", User: "u", Password: "a:b/c@d", TLS: controlplane.TLS{Mode: "disable"}})
	},
	"fingerprints": func(p *render.Printer) error {
		return p.Fingerprints([]controlplane.FingerprintGroup{{Version: "3", Server: 15, Fingerprint: release.Hash, Objects: 120, Tenants: 219, Examples: []string{"acme", "globex"}}})
	},
	"releases":   func(p *render.Printer) error { return p.Releases([]controlplane.Release{release}) },
	"release":    func(p *render.Printer) error { return p.Release(&release) },
	"lint":       func(p *render.Printer) error { return p.Lint(&lint, "migrations/tenant") },
	"lint-since": func(p *render.Printer) error { return p.Lint(&controlplane.Lint{Files: 2, Since: "1"}, ".") },
	"rehearsal": func(p *render.Printer) error {
		return p.Rehearsal(&controlplane.Rehearsal{
			Release: "v2", From: "2", To: "5", Cluster: "east", ServerVersion: 18, DurationMS: 1240, Versions: []controlplane.RehearsedVersion{
				{Version: "3", File: "3_stars.sql", TxMode: "file", Down: controlplane.DownComputed, Proved: true, Reverse: []string{"ALTER TABLE notes DROP COLUMN pinned;"}, LosesDown: []string{"column notes.pinned"},
					Refuses: controlplane.RefusesSome, Failure: &controlplane.Failure{File: "3_stars.sql", Statement: 2, Message: "check constraint is violated by some row", SQLState: "23514"},
					Statements: []controlplane.RehearsedStatement{
						{Statement: 1, SQL: "ALTER TABLE notes ADD COLUMN pinned bool DEFAULT random() < 0.5;", InTransaction: true, Rewrites: []string{"notes"},
							Locks: []controlplane.RehearsedLock{{Relation: "notes", Mode: "ACCESS EXCLUSIVE"}, {Relation: "tags", Mode: "SHARE"}, {Relation: "words", Mode: "SHARE"}}},
						{Statement: 2, SQL: "-- größer\nALTER TABLE notes\n  ADD CONSTRAINT notes_größe_check CHECK (stars >= 0 AND stars <= 5);", InTransaction: true, Scans: []string{"notes", "tags"},
							Locks: []controlplane.RehearsedLock{{Relation: "notes", Mode: "ACCESS EXCLUSIVE", Since: 1}}},
					}},
				{Version: "4", File: "4_index.sql", TxMode: "none", Down: controlplane.DownFile, Why: "the way back does not restore the schema", Unfilled: []controlplane.UnfilledTable{{Table: "shapes", Why: "no value"}},
					Statements: []controlplane.RehearsedStatement{{Statement: 1, SQL: "CREATE INDEX CONCURRENTLY a ON notes (body)", Scans: []string{"notes"}, Locks: []controlplane.RehearsedLock{{Relation: "notes", Mode: "SHARE UPDATE EXCLUSIVE"}}}}},
				{Version: "5", File: "5_drop.sql", TxMode: "file", Down: controlplane.DownNone, Why: "statement 1: DROP TABLE is not additive DDL on tables", LosesUp: []string{"table tags", "values of notes.body"},
					Statements: []controlplane.RehearsedStatement{{Statement: 1, SQL: "DROP TABLE tags", InTransaction: true}}},
			},
		})
	},
	"release-pushed": func(p *render.Printer) error { return p.ReleaseDone(&release, "pushed") },
	"release-in-sync": func(p *render.Printer) error {
		return p.Diff(&controlplane.Diff{InSync: true, Complete: true}, "migrations/tenant", "schema/tenant.sql", false)
	},
	"release-diff": func(p *render.Printer) error { return p.Diff(&diff, "migrations/tenant", "schema/tenant.sql", false) },
	"release-diff-written": func(p *render.Printer) error {
		return p.Diff(&controlplane.Diff{Complete: true, File: diff.File, Files: diff.Files}, "migrations/tenant", "schema/tenant.sql", true)
	},
	"release-diff-partial": func(p *render.Printer) error {
		partial := diff
		partial.Files, partial.Failure, partial.NoDown = map[string]string{diff.File: "", "atlas.sum": ""}, failure, "statement 1: ALTER TABLE DROP COLUMN is not additive"
		return p.Diff(&partial, "migrations/tenant", "schema/tenant.sql", true)
	},
	"rollouts": func(p *render.Printer) error { return p.Rollouts([]controlplane.Rollout{rollout}) },
	"rollout":  func(p *render.Printer) error { return p.Rollout(&rollout) },
	"rollout-at-work": func(p *render.Printer) error {
		now := rollout
		now.State, now.FinishedAt, now.PerDatabase = controlplane.RolloutRunning, nil, 4
		now.Counts = controlplane.Counts{controlplane.TargetSucceeded: 120, controlplane.TargetRunning: 5, controlplane.TargetDeferred: 3, controlplane.TargetPending: 92}
		now.Clusters = []controlplane.RolloutFlow{
			{Cluster: "east", Open: 80, AtWork: 4, Flow: controlplane.Flow{Pace: 4, Ceiling: 18, Reason: "halved: 3 tenants waited for locks"}},
			{Cluster: "west", Open: 20, Flow: controlplane.Flow{Ceiling: 18, Alarm: &controlplane.Alarm{
				Message: "cannot execute CREATE TABLE in a read-only transaction", SQLState: "25006", Since: ago(65 * time.Second), Until: now.CreatedAt.Add(95 * time.Second), Tries: 3}}},
		}
		now.InHand = []controlplane.InHand{{Tenant: "acme", Since: ago(12 * time.Second)}, {Tenant: "globex", Since: ago(time.Second)}}
		return p.Rollout(&now)
	},
	"rollout-result": func(p *render.Printer) error {
		second := target
		second.Tenant, second.Failure, second.Status = "hooli", syntax, controlplane.TargetNeedsAttention
		return p.RolloutResult(&rollout, []controlplane.Target{target, second}, 3)
	},
	"target-failures": func(p *render.Printer) error {
		second := target
		second.Failure, second.Status, second.Cluster = syntax, controlplane.TargetNeedsAttention, ""
		p.Remark("%s", p.TargetFailure(&target))
		p.Remark("%s", p.TargetFailure(&second))
		return p.Line(&controlplane.Event{Cursor: "1.2", Kind: "batch.finished", Data: []byte(`{"a":1}`)})
	},
	"rollout-started": func(p *render.Printer) error { return p.RolloutStarted(&rollout, "started") },
	"targets": func(p *render.Printer) error {
		return p.Targets(controlplane.Page[controlplane.Target]{Items: []controlplane.Target{target}})
	},
	"rollout-plan": func(p *render.Printer) error {
		return p.RolloutPlan(&controlplane.RolloutPlan{
			Release: "v2", Version: "3", Tenants: 220, Current: 10, From: map[string]int{"2": 200, "": 9, "3": 10}, Clusters: map[string]int{"west": 100, "east": 119},
			Batches: 12, Versions: release.Versions[2:], Skipped: []controlplane.TenantResult{refused},
		})
	},
	"rollout-plan-copies": func(p *render.Printer) error {
		add := controlplane.RehearsedStatement{Statement: 1, SQL: "ALTER TABLE issues ADD COLUMN n int;", DurationMS: 4, Locks: []controlplane.RehearsedLock{{Relation: "issues", Mode: "ACCESS EXCLUSIVE"}}}
		fill := controlplane.RehearsedStatement{Statement: 2, SQL: "UPDATE issues SET n = 0;", DurationMS: 61400, Scans: []string{"issues"}, Locks: []controlplane.RehearsedLock{{Relation: "issues", Mode: "ACCESS EXCLUSIVE", Since: 1}}}
		up := controlplane.RehearsedVersion{Version: "3", File: "3_n.sql", Statements: []controlplane.RehearsedStatement{add, fill}, Down: controlplane.DownFile, Proved: true}
		lossy, null := up, up
		lossy.Proved, lossy.Why, lossy.LosesUp = false, "the way back does not bring back: values of issues.n", []string{"values of issues.n"}
		null.Statements, null.Refuses, null.Nulls, null.Failure = null.Statements[:1], controlplane.RefusesTenant, 3, failure
		clone := controlplane.Clone{Tenant: "acme", Cluster: "east", From: "2", To: "3", Copied: true, Tables: 12, Rows: 1204311, Bytes: 812 << 20, CopyMS: 31250, Versions: []controlplane.RehearsedVersion{up}}
		globex, hooli, initech, piedpiper := clone, clone, clone, clone
		globex.Tenant, globex.Versions = "globex", []controlplane.RehearsedVersion{lossy}
		hooli.Tenant, hooli.Bytes, hooli.Versions = "hooli", 900, []controlplane.RehearsedVersion{null}
		initech = controlplane.Clone{Tenant: "initech", Cluster: "west", To: "3", Why: "the home has 21474836480 bytes, and no more than 10737418240 are copied"}
		piedpiper.Tenant, piedpiper.Versions, piedpiper.Why = "piedpiper", nil, "the connection was lost"
		return p.RolloutPlan(&controlplane.RolloutPlan{
			ID: "p_7c2m4k", Release: "v2", Version: "3", Tenants: 220, From: map[string]int{"2": 220}, Clusters: map[string]int{"east": 220}, Batches: 12,
			Clones: []controlplane.Clone{clone, globex, hooli, initech, piedpiper}, Rehearsals: []controlplane.Rehearsal{{From: "2", To: "3", Cluster: "east", ServerVersion: 18}},
			Warnings: []controlplane.Warning{controlplane.NewWarning(controlplane.WarnRefusedOnCopy, "on a copy of tenant hooli: NULL")},
		})
	},
	"rollback-plan": func(p *render.Printer) error {
		return p.RollbackPlan(&controlplane.RollbackPlan{Rollout: "r_4f7k2m", Tenants: 219, Versions: release.Versions, Irreversible: []controlplane.TenantResult{refused}})
	},
	"status": func(p *render.Printer) error {
		return p.Status(&controlplane.FleetStatus{
			Tenants: 220, Default: "v2", Version: "3", Behind: 1, States: map[controlplane.TenantState]int{controlplane.TenantActive: 218, controlplane.TenantSuspended: 2, controlplane.TenantDeleted: 5},
			Versions: []controlplane.VersionStatus{{Version: "2", Release: "v1", Tenants: 1, Failed: 1}, {Version: "3", Release: "v2", Tenants: 219, Running: 4,
				Fingerprints: map[string]int{"1f0e9d2c77aa": 212, "77ab01e9c3d4": 1, "90ab01e9c3d4": 2, "a1": 1, "a2": 1}}},
			Clusters: []controlplane.ClusterStatus{{Cluster: "east", State: controlplane.ClusterActive, Tenants: 120, Capacity: 500, Versions: map[string]int{"3": 119, "2": 1}}, {Cluster: "west", State: controlplane.ClusterOffline, Tenants: 100, Versions: map[string]int{"3": 100}}},
			Rollouts: []controlplane.Rollout{rollout},
		})
	},
	"status-alarm": func(p *render.Printer) error {
		return p.Status(&controlplane.FleetStatus{
			Tenants: 220, States: map[controlplane.TenantState]int{controlplane.TenantActive: 220},
			Clusters: []controlplane.ClusterStatus{
				{Cluster: "east", State: controlplane.ClusterActive, Tenants: 120, Alarm: &controlplane.Alarm{Message: "could not extend file: No space left on device", SQLState: "53100",
					Since: ago(12 * time.Minute), Until: now.Add(40 * time.Second), Tries: 3}},
				{Cluster: "west", State: controlplane.ClusterActive, Tenants: 100, Alarm: &controlplane.Alarm{Message: "it takes no writes", Since: ago(time.Minute), Until: ago(time.Second), Tries: 1}}},
		})
	},
	"status-empty": func(p *render.Printer) error { return p.Status(&controlplane.FleetStatus{}) },
	"verification": func(p *render.Printer) error {
		return p.Verification(&controlplane.Verification{Tenants: 220, Agree: 218, AtWork: 3, Unreached: []controlplane.Unreached{away},
			Differences: []controlplane.Difference{
				{Tenant: "acme", Cluster: "east", Catalog: "3", Stamp: "2", Actual: "2", Reason: "the catalog is ahead of the tenant", Corrected: true},
				{Tenant: "globex", Cluster: "east", Catalog: "3", Actual: "3", Reason: "its home has no stamp"}}})
	},
	"verification-agrees": func(p *render.Printer) error {
		return p.Verification(&controlplane.Verification{Tenants: 1, Agree: 1, Differences: []controlplane.Difference{}, Unreached: []controlplane.Unreached{}})
	},
	"doctor": func(p *render.Printer) error {
		return p.Checkup(&controlplane.Checkup{Clusters: 1, Databases: 11, Tenants: 220, Findings: findings, Unreached: []controlplane.Unreached{away}})
	},
	"doctor-fixed": func(p *render.Printer) error {
		fixed := slices.Clone(findings)
		fixed[1].Fixed, fixed[2].Error = true, controlplane.Errorf(controlplane.Conflict, "somebody works on the tenant")
		return p.Checkup(&controlplane.Checkup{Clusters: 1, Databases: 11, Tenants: 220, Findings: fixed, Fix: true})
	},
	"doctor-many": func(p *render.Printer) error {
		return p.Checkup(&controlplane.Checkup{Clusters: 1, Databases: 1, Tenants: 30, Findings: slices.Repeat(findings[:1], 30)})
	},
	"doctor-well": func(p *render.Printer) error {
		return p.Checkup(&controlplane.Checkup{Clusters: 2, Databases: 11, Tenants: 220, Findings: findings[3:]})
	},
	"claim": func(p *render.Printer) error {
		return p.Claim(&controlplane.Claim{Catalog: "manor_copy", Incarnation: "X", Tenants: 220, Claimed: 220, Strangers: 2, Done: true})
	},
	"claim-partly": func(p *render.Printer) error {
		return p.Claim(&controlplane.Claim{Catalog: "manor_copy", Incarnation: "X", Tenants: 120, Claimed: 119, Done: true, Unreached: []controlplane.Unreached{away},
			Left: []controlplane.ClaimLeft{{Tenant: "acme", Cluster: "east", Reason: "it has moved since the copy was made"}}})
	},
	"claim-open": func(p *render.Printer) error {
		return p.Claim(&controlplane.Claim{Catalog: "manor_copy", Incarnation: "X", Tenants: 120, Claimed: 120, Unreached: []controlplane.Unreached{away}})
	},
	"claim-dry": func(p *render.Printer) error {
		return p.Claim(&controlplane.Claim{Catalog: "manor_copy", Tenants: 1, Claimed: 1, DryRun: true})
	},
	"catalog": func(p *render.Printer) error {
		return p.Catalog(render.CatalogStatus{Current: "1", Latest: "3", Pending: []string{"2", "3"}})
	},
	"catalog-new": func(p *render.Printer) error {
		return p.Catalog(render.CatalogStatus{Latest: "3", Pending: []string{"1"}})
	},
	"catalog-copy": func(p *render.Printer) error {
		return p.Catalog(render.CatalogStatus{Current: "3", Latest: "3", Copy: true})
	},
	"catalog-newer": func(p *render.Printer) error {
		return p.Catalog(render.CatalogStatus{Current: "4", Latest: "3", Newer: true})
	},
}

// forScripts are the documents whose JSON and YAML have golden files too.
var forScripts = []string{"tenants", "tenants-none", "results", "rollout", "targets", "verification", "doctor", "lint", "release-diff"}

func TestDocumentsLookAsTheGoldenFilesSay(t *testing.T) {
	for name, write := range documents {
		for _, format := range render.Formats {
			if format != render.Table && !slices.Contains(forScripts, name) {
				continue
			}
			t.Run(name+"/"+string(format), func(t *testing.T) {
				var out, errs bytes.Buffer
				p := render.New(render.Config{Out: &out, Err: &errs, Format: format, Now: func() time.Time { return now }})
				if err := write(p); err != nil {
					t.Fatal(err)
				}
				got := out.String()
				if errs.Len() > 0 {
					got += "--- stderr\n" + errs.String()
				}
				golden(t, name+"."+string(format), got)
			})
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./cmd/manor/render -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got\n%s", name, diff)
	}
}

func TestYAMLSaysWhatJSONSays(t *testing.T) {
	for name, write := range documents {
		var fromJSON, fromYAML any
		for format, read := range map[render.Format]func([]byte) error{
			render.JSON: func(b []byte) error { return json.Unmarshal(b, &fromJSON) },
			render.YAML: func(b []byte) error { return yaml.Unmarshal(b, &fromYAML) },
		} {
			var out bytes.Buffer
			if err := write(render.New(render.Config{Out: &out, Err: io.Discard, Format: format})); err != nil {
				t.Fatal(err)
			}
			if err := read(out.Bytes()); err != nil {
				t.Fatalf("%s as %s: %v", name, format, err)
			}
		}
		again, err := json.Marshal(fromYAML)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(fromJSON)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(again)); diff != "" {
			t.Errorf("%s: -JSON +YAML\n%s", name, diff)
		}
	}
}

func TestNothingIsColouredOffATerminal(t *testing.T) {
	for name, write := range documents {
		var out, errs bytes.Buffer
		if err := write(render.New(render.Config{Out: &out, Err: &errs})); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String()+errs.String(), "\x1b") {
			t.Errorf("%s holds an escape sequence", name)
		}
	}
}

func TestStatesAreColouredOnATerminalAndColumnsStayAligned(t *testing.T) {
	var plain, coloured bytes.Buffer
	for out, color := range map[*bytes.Buffer]bool{&plain: false, &coloured: true} {
		p := render.New(render.Config{Out: out, OutColor: color, Now: func() time.Time { return now }})
		if err := p.Clusters([]controlplane.Cluster{cluster, west}); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(coloured.String(), "\x1b[32mactive") {
		t.Errorf("the state is not green: %q", coloured.String())
	}
	if got := escapes.ReplaceAllString(coloured.String(), ""); got != plain.String() {
		t.Errorf("colour moved the columns:\n%s\n%s", got, plain.String())
	}
}
