-- atlas:txmode none

-- Without a transaction: people keep writing issues while this builds.
CREATE INDEX CONCURRENTLY issues_text_idx ON issues USING gin (to_tsvector('english', title || ' ' || description));
