CREATE VIEW project_progress AS
SELECT p.id AS project_id,
       p.key AS project_key,
       p.name AS project_name,
       count(i.id) FILTER (WHERE i.closed_at IS NULL) AS open_issues,
       count(i.id) FILTER (WHERE i.closed_at IS NOT NULL) AS closed_issues,
       coalesce(sum(i.estimate_minutes) FILTER (WHERE i.closed_at IS NULL), 0) AS open_estimate_minutes,
       max(i.updated_at) AS last_change_at
FROM projects p
LEFT JOIN issues i ON i.project_id = p.id
WHERE p.archived_at IS NULL
GROUP BY p.id, p.key, p.name;
