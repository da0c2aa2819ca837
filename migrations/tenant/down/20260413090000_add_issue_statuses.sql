-- Loses which issues were in review or cancelled: they become in progress and done. PostgreSQL cannot take a value
-- from a type, so the type is made again and the table rewritten under an exclusive lock.
ALTER TABLE issues ALTER COLUMN status DROP DEFAULT;
ALTER TYPE issue_status RENAME TO issue_status_replaced;
CREATE TYPE issue_status AS ENUM ('backlog', 'todo', 'in_progress', 'done');
ALTER TABLE issues ALTER COLUMN status TYPE issue_status USING (
    CASE status::text
        WHEN 'in_review' THEN 'in_progress'
        WHEN 'cancelled' THEN 'done'
        ELSE status::text
    END::issue_status
);
ALTER TABLE issues ALTER COLUMN status SET DEFAULT 'backlog';
DROP TYPE issue_status_replaced;
