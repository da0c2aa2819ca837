-- People say WEB-42: issues get a number within their project, in the order they were created.
ALTER TABLE projects ADD COLUMN last_issue_number integer NOT NULL DEFAULT 0;
ALTER TABLE issues ADD COLUMN number integer;

UPDATE issues SET number = numbered.number
FROM (SELECT id, row_number() OVER (PARTITION BY project_id ORDER BY created_at, id) AS number FROM issues) AS numbered
WHERE numbered.id = issues.id;

UPDATE projects SET last_issue_number = counted.issues
FROM (SELECT project_id, count(*) AS issues FROM issues GROUP BY project_id) AS counted
WHERE counted.project_id = projects.id;

ALTER TABLE issues ALTER COLUMN number SET NOT NULL;
ALTER TABLE issues ADD CONSTRAINT issues_project_id_number_key UNIQUE (project_id, number);

CREATE FUNCTION assign_issue_number() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE projects SET last_issue_number = last_issue_number + 1
    WHERE id = NEW.project_id
    RETURNING last_issue_number INTO NEW.number;
    RETURN NEW;
END
$$;

CREATE TRIGGER issues_assign_number BEFORE INSERT ON issues
    FOR EACH ROW WHEN (NEW.number IS NULL) EXECUTE FUNCTION assign_issue_number();
