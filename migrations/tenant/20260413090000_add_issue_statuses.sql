-- In a file of their own: PostgreSQL lets nobody use a new value before the transaction that added it has ended.
ALTER TYPE issue_status ADD VALUE 'in_review' BEFORE 'done';
ALTER TYPE issue_status ADD VALUE 'cancelled' AFTER 'done';
