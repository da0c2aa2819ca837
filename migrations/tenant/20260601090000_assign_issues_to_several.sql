CREATE TABLE issue_assignees (
    issue_id    bigint NOT NULL REFERENCES issues (id) ON DELETE CASCADE,
    member_id   bigint NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    assigned_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issue_id, member_id)
);

CREATE INDEX issue_assignees_member_id_idx ON issue_assignees (member_id);

INSERT INTO issue_assignees (issue_id, member_id)
SELECT id, assignee_id FROM issues WHERE assignee_id IS NOT NULL;

ALTER TABLE issues DROP COLUMN assignee_id;
