ALTER TABLE members RENAME COLUMN fullname TO display_name;
ALTER TABLE members RENAME CONSTRAINT members_fullname_check TO members_display_name_check;

CREATE INDEX members_display_name_idx ON members (lower(display_name));
