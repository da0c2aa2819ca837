-- Loses the remaining minutes written since. Estimates that a tenant mended to get here stay mended.
ALTER TABLE issues DROP CONSTRAINT issues_estimate_minutes_check;
DROP INDEX issues_sprint_id_remaining_minutes_idx;
ALTER TABLE issues DROP COLUMN remaining_minutes;
