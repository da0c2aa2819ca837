-- Loses when issues were closed. Going up again takes the time of their last change instead.
DROP TRIGGER issues_stamp_closed ON issues;
DROP FUNCTION stamp_closed_issue();
DROP INDEX issues_open_idx;
ALTER TABLE issues DROP COLUMN closed_at;
