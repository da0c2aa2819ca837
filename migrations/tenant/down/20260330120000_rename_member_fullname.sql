DROP INDEX members_display_name_idx;
ALTER TABLE members RENAME CONSTRAINT members_display_name_check TO members_fullname_check;
ALTER TABLE members RENAME COLUMN display_name TO fullname;
