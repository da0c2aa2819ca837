-- Loses every assignee of an issue but the first, and when they were assigned.
ALTER TABLE issues ADD COLUMN assignee_id bigint REFERENCES members (id) ON DELETE SET NULL;

-- The trigger is off meanwhile: a rollback is not a change of the issue.
ALTER TABLE issues DISABLE TRIGGER issues_touch_updated_at;
UPDATE issues SET assignee_id = first.member_id
FROM (
    SELECT DISTINCT ON (issue_id) issue_id, member_id FROM issue_assignees
    ORDER BY issue_id, assigned_at, member_id
) AS first
WHERE first.issue_id = issues.id;
ALTER TABLE issues ENABLE TRIGGER issues_touch_updated_at;

CREATE INDEX issues_assignee_id_idx ON issues (assignee_id);

DROP TABLE issue_assignees;
