-- Modify "tenants" table
ALTER TABLE "tenants" ADD COLUMN "worker" text NOT NULL DEFAULT '', ADD COLUMN "taken_at" timestamptz NULL, ADD COLUMN "wanted_at" timestamptz NOT NULL DEFAULT now();
-- Create index "tenant_unsettled" to table: "tenants"
CREATE INDEX "tenant_unsettled" ON "tenants" ("updated_at") WHERE (NOT settled);
