DROP TRIGGER members_touch_updated_at ON members;
DROP TRIGGER teams_touch_updated_at ON teams;
DROP TRIGGER projects_touch_updated_at ON projects;
DROP TRIGGER issues_touch_updated_at ON issues;
DROP TRIGGER comments_touch_updated_at ON comments;
DROP TRIGGER sprints_touch_updated_at ON sprints;
DROP FUNCTION touch_updated_at();
