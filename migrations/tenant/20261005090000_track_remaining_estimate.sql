-- Up to here nothing kept an estimate from being negative, and some importers wrote -1 for "not estimated". Such a
-- tenant is refused by the last statement (23514) and stays at the version before, until it has mended its rows:
--     UPDATE issues SET estimate_minutes = NULL WHERE estimate_minutes < 0;
ALTER TABLE issues ADD COLUMN remaining_minutes integer;

CREATE INDEX issues_sprint_id_remaining_minutes_idx ON issues (sprint_id, remaining_minutes) WHERE closed_at IS NULL;

ALTER TABLE issues ADD CONSTRAINT issues_estimate_minutes_check CHECK (estimate_minutes >= 0) NOT VALID;
ALTER TABLE issues VALIDATE CONSTRAINT issues_estimate_minutes_check;
