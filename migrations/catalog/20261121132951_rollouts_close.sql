-- Modify "rollouts" table
ALTER TABLE "rollouts" ADD COLUMN "closed_at" timestamptz NULL;
