-- Create "snapshots" table
CREATE TABLE "snapshots" ("id" text NOT NULL, "rollout_id" text NOT NULL, "tenant_id" text NOT NULL, "cluster_id" text NOT NULL, "database_id" text NOT NULL, "replaced" text NOT NULL, "state" text NOT NULL DEFAULT 'taking', "bytes" bigint NOT NULL DEFAULT 0, "taken_at" timestamptz NULL, "expires_at" timestamptz NULL, "created_at" timestamptz NOT NULL DEFAULT now(), "updated_at" timestamptz NOT NULL DEFAULT now(), PRIMARY KEY ("id"), CONSTRAINT "state_known" CHECK (state = ANY (ARRAY['taking'::text, 'made'::text, 'restoring'::text, 'dropping'::text, 'gone'::text])));
-- Create index "snapshot_database_id" to table: "snapshots"
CREATE INDEX "snapshot_database_id" ON "snapshots" ("database_id") WHERE (state <> 'gone'::text);
-- Create index "snapshot_rollout_id_tenant_id" to table: "snapshots"
CREATE UNIQUE INDEX "snapshot_rollout_id_tenant_id" ON "snapshots" ("rollout_id", "tenant_id");
