DROP VIEW project_progress;
