-- Loses the numbers. Going up again numbers the issues anew by their time of creation, so that after a deleted issue
-- those that follow it are called differently from before.
DROP TRIGGER issues_assign_number ON issues;
DROP FUNCTION assign_issue_number();
ALTER TABLE issues DROP COLUMN number;
ALTER TABLE projects DROP COLUMN last_issue_number;
