-- Schema manor: who lives in this database. One row per home proves a session's
-- target, is the home's lock and fence, and holds its stamp: the version that
-- its revisions last said, written in the transaction that wrote them.
--
-- Owned by the database's owner, closed to everybody else. Nothing here is
-- SECURITY DEFINER and nothing has a SET clause: the settings that enter and
-- hold make must outlive the call.

-- Two workers furnish one database: one waits for the other at a row that no
-- tenant can lock, as it could an advisory lock. Where there is no such row yet,
-- PostgreSQL tells the second of the conflict, and it tries again.
DO $$ BEGIN
    IF to_regclass('manor.build') IS NOT NULL THEN
        PERFORM FROM manor.build FOR UPDATE;
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS manor;
REVOKE ALL ON SCHEMA manor FROM PUBLIC;

CREATE TABLE IF NOT EXISTS manor.marker (
    tenant_id    text PRIMARY KEY,
    slug         text NOT NULL,
    schema       text NOT NULL UNIQUE,
    generation   bigint NOT NULL,
    epoch        bigint NOT NULL,
    incarnation  text NOT NULL,
    version      text NOT NULL DEFAULT '',
    release      text NOT NULL DEFAULT '',
    holder_pid   integer,               -- of a run that works statement by statement,
    holder_start timestamptz,           -- for as long as this backend lives
    updated_at   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);               -- every migration updates its row in place

-- build holds one row: who builds an index concurrently. A build waits for the
-- snapshots of its whole database, so that two would wait for each other.
CREATE TABLE IF NOT EXISTS manor.build (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    holder_pid   integer,               -- for as long as this backend lives
    holder_start timestamptz
);
INSERT INTO manor.build DEFAULT VALUES ON CONFLICT DO NOTHING;

-- edition is raised with every change of what this file makes: a database that has
-- an older one is brought up to date before it is needed, one that has a newer is left alone.
CREATE OR REPLACE FUNCTION manor.edition() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2';

-- lock locks the tenant's row and compares it with what the caller believes: the
-- right home, free, not fenced off.
CREATE OR REPLACE FUNCTION manor.lock(
    p_tenant text, p_schema text, p_generation bigint, p_epoch bigint, p_incarnation text
) RETURNS manor.marker LANGUAGE plpgsql AS $$
DECLARE
    home manor.marker;
BEGIN
    SELECT * INTO home FROM manor.marker m WHERE m.tenant_id = p_tenant FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM manor.marker m WHERE m.tenant_id = p_tenant) THEN
            RAISE EXCEPTION USING ERRCODE = 'MN001', MESSAGE = 'another session is working on this tenant';
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'MN002',
            MESSAGE = format('database %s holds no home of tenant %s', current_database(), p_tenant);
    END IF;
    IF home.schema <> p_schema OR home.generation <> p_generation THEN
        RAISE EXCEPTION USING ERRCODE = 'MN003',
            MESSAGE = format('the tenant has moved: expected %s, generation %s, found %s, generation %s',
                p_schema, p_generation, home.schema, home.generation);
    END IF;
    IF home.incarnation <> p_incarnation THEN
        RAISE EXCEPTION USING ERRCODE = 'MN004',
            MESSAGE = format('the tenant belongs to another catalog: expected %s, found %s', p_incarnation, home.incarnation);
    END IF;
    IF p_epoch < home.epoch THEN
        RAISE EXCEPTION USING ERRCODE = 'MN005',
            MESSAGE = format('fenced off: epoch %s is over, the tenant is at epoch %s', p_epoch, home.epoch);
    END IF;
    IF home.holder_pid IS NOT NULL AND EXISTS (
        SELECT FROM pg_stat_activity a
        WHERE a.pid = home.holder_pid AND a.backend_start = home.holder_start AND a.pid <> pg_backend_pid()
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'MN001', MESSAGE = 'another session is working on this tenant, statement by statement';
    END IF;
    RETURN home;
END
$$;

-- fence shuts out whoever worked on the tenant under an older epoch and may
-- still come, and returns the version that the revisions say.
CREATE OR REPLACE FUNCTION manor.fence(
    p_tenant text, p_schema text, p_generation bigint, p_epoch bigint, p_incarnation text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    revision text;
BEGIN
    PERFORM manor.lock(p_tenant, p_schema, p_generation, p_epoch, p_incarnation);
    UPDATE manor.marker m SET epoch = p_epoch, holder_pid = NULL, holder_start = NULL, updated_at = now()
     WHERE m.tenant_id = p_tenant;
    EXECUTE format('SELECT r.version FROM %I.atlas_schema_revisions r
        WHERE r.version <> ''.atlas_cloud_identifier'' AND r.applied = r.total
        ORDER BY r.version COLLATE "C" DESC LIMIT 1', p_schema) INTO revision;
    RETURN coalesce(revision, '');
END
$$;

-- prove is lock with the revision expected. A row of the revision table for
-- p_resume that is not complete does not count.
CREATE OR REPLACE FUNCTION manor.prove(
    p_tenant text, p_schema text, p_generation bigint, p_epoch bigint, p_incarnation text,
    p_expected text, p_hash text, p_resume text
) RETURNS manor.marker LANGUAGE plpgsql AS $$
DECLARE
    home manor.marker;
    revision text; revision_hash text; done bigint; total bigint;
BEGIN
    home := manor.lock(p_tenant, p_schema, p_generation, p_epoch, p_incarnation);
    EXECUTE format('SELECT r.version, r.hash, r.applied, r.total FROM %I.atlas_schema_revisions r
        WHERE r.version <> ''.atlas_cloud_identifier'' AND NOT (r.version = $1 AND r.applied < r.total)
        ORDER BY r.version COLLATE "C" DESC LIMIT 1', p_schema)
        INTO revision, revision_hash, done, total USING p_resume;
    IF coalesce(revision, '') <> p_expected THEN
        RAISE EXCEPTION USING ERRCODE = 'MN006',
            MESSAGE = format('the revisions say version %s, expected %s',
                coalesce(nullif(revision, ''), 'none'), coalesce(nullif(p_expected, ''), 'none'));
    END IF;
    IF done < total THEN
        RAISE EXCEPTION USING ERRCODE = 'MN006',
            MESSAGE = format('version %s is only applied up to statement %s of %s', revision, done, total);
    END IF;
    IF p_hash <> '' AND revision_hash <> '' AND revision_hash <> p_hash THEN
        RAISE EXCEPTION USING ERRCODE = 'MN007',
            MESSAGE = format('version %s was changed after it was applied here', revision);
    END IF;
    RETURN home;
END
$$;

-- enter opens a migration of one file in the caller's transaction: limits, proof,
-- stamp, search path. p_database: the database is the tenant's own and carries
-- the stamp as its comment too, so that one query reads it for a whole cluster.
CREATE OR REPLACE FUNCTION manor.enter(
    p_tenant text, p_schema text, p_generation bigint, p_epoch bigint, p_incarnation text,
    p_database boolean, p_lock_ms bigint, p_statement_ms bigint,
    p_expected text, p_hash text, p_version text, p_release text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    home manor.marker;
BEGIN
    PERFORM set_config('lock_timeout', p_lock_ms::text, true), set_config('statement_timeout', p_statement_ms::text, true);
    home := manor.prove(p_tenant, p_schema, p_generation, p_epoch, p_incarnation, p_expected, p_hash, '');
    PERFORM manor.stamp(home, p_epoch, p_database, p_version, p_release),
            set_config('search_path', quote_ident(p_schema) || ', extensions', true);
END
$$;

-- stamp writes the version, the epoch and, where asked, the database's comment,
-- and lets go of the tenant. It writes nothing that stands there already.
CREATE OR REPLACE FUNCTION manor.stamp(
    home manor.marker, p_epoch bigint, p_database boolean, p_version text, p_release text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF home.version = p_version AND home.release = p_release AND home.epoch = p_epoch AND home.holder_pid IS NULL THEN
        RETURN;
    END IF;
    UPDATE manor.marker m
       SET version = p_version, release = p_release, epoch = p_epoch,
           holder_pid = NULL, holder_start = NULL, updated_at = now()
     WHERE m.tenant_id = home.tenant_id;
    IF p_database THEN
        EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), json_build_object(
            'tenant', home.tenant_id, 'slug', home.slug, 'schema', home.schema, 'generation', home.generation,
            'epoch', p_epoch, 'incarnation', home.incarnation, 'version', p_version, 'release', p_release)::text);
    END IF;
END
$$;

-- hold keeps a tenant for this session between transactions, for a file that
-- runs statement by statement. Others find it busy until the session lets go
-- (stamp, release) or ends.
CREATE OR REPLACE FUNCTION manor.hold(
    p_tenant text, p_schema text, p_generation bigint, p_epoch bigint, p_incarnation text,
    p_expected text, p_hash text, p_version text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM manor.prove(p_tenant, p_schema, p_generation, p_epoch, p_incarnation, p_expected, p_hash, p_version);
    UPDATE manor.marker m
       SET epoch = p_epoch, holder_pid = a.pid, holder_start = a.backend_start, updated_at = now()
      FROM pg_stat_activity a
     WHERE m.tenant_id = p_tenant AND a.pid = pg_backend_pid();
END
$$;

-- claim_build takes the database's one concurrent build for this session, until
-- it lets go (release_build, release) or ends.
CREATE OR REPLACE FUNCTION manor.claim_build() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    build manor.build;
BEGIN
    SELECT * INTO build FROM manor.build FOR UPDATE;
    PERFORM pg_stat_clear_snapshot(); -- the sessions as this transaction first saw them are older than the row
    IF EXISTS (
        SELECT FROM pg_stat_activity a
        WHERE a.pid = build.holder_pid AND a.backend_start = build.holder_start AND a.pid <> pg_backend_pid()
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'MN008', MESSAGE = 'another index is being built in this database';
    END IF;
    UPDATE manor.build SET holder_pid = a.pid, holder_start = a.backend_start
      FROM pg_stat_activity a WHERE a.pid = pg_backend_pid();
END
$$;

-- release_build ends what claim_build began.
CREATE OR REPLACE FUNCTION manor.release_build() RETURNS void LANGUAGE sql AS $$
    UPDATE manor.build SET holder_pid = NULL, holder_start = NULL WHERE holder_pid = pg_backend_pid()
$$;

-- release ends what hold and claim_build began.
CREATE OR REPLACE FUNCTION manor.release(p_tenant text) RETURNS void LANGUAGE sql AS $$
    UPDATE manor.marker m SET holder_pid = NULL, holder_start = NULL
     WHERE m.tenant_id = p_tenant AND m.holder_pid = pg_backend_pid();
    SELECT manor.release_build()
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA manor FROM PUBLIC;
