CREATE FUNCTION touch_updated_at() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER members_touch_updated_at BEFORE UPDATE ON members
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER teams_touch_updated_at BEFORE UPDATE ON teams
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER projects_touch_updated_at BEFORE UPDATE ON projects
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER issues_touch_updated_at BEFORE UPDATE ON issues
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER comments_touch_updated_at BEFORE UPDATE ON comments
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER sprints_touch_updated_at BEFORE UPDATE ON sprints
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
