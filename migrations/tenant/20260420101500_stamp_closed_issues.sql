ALTER TABLE issues ADD COLUMN closed_at timestamptz;

-- Compared as text, so that a new tenant may get this file and the one that adds 'cancelled' in one transaction.
UPDATE issues SET closed_at = updated_at WHERE status::text IN ('done', 'cancelled');

CREATE INDEX issues_open_idx ON issues (project_id, priority DESC, created_at) WHERE closed_at IS NULL;

CREATE FUNCTION stamp_closed_issue() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.status IN ('done', 'cancelled') THEN
        NEW.closed_at := coalesce(NEW.closed_at, now());
    ELSE
        NEW.closed_at := NULL;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER issues_stamp_closed BEFORE INSERT OR UPDATE OF status ON issues
    FOR EACH ROW EXECUTE FUNCTION stamp_closed_issue();
