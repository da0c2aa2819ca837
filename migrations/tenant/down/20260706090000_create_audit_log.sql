-- Loses the log.
DROP TRIGGER issues_record_change ON issues;
DROP FUNCTION record_issue_change();
DROP TABLE audit_log;
