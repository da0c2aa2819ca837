-- One line per object of schema $1, and per right
-- on it, for a SELECT that follows; their hash is the fingerprint. Objects are found through pg_depend: the
-- catalogs have no index that leads with the namespace. The schema's name is
-- replaced in the text, roles by what they are to the schema: @ is its owner,
-- & the one other role with rights on it.
-- The search path is the schema alone while this runs, so that what is in it is
-- written without its name. Set in here, for ns is looked at before anything is
-- written, it leaves the plan to be used for the next schema: planning takes
-- longer than running.
WITH ns AS MATERIALIZED (
  SELECT n.oid, n.nspname::text AS name, n.nspowner AS owner, set_config('search_path', quote_ident(n.nspname), true),
         (SELECT min(x.grantee::bigint)::oid FROM aclexplode(n.nspacl) x WHERE x.grantee NOT IN (0, n.nspowner) HAVING count(DISTINCT x.grantee) = 1) AS app
    FROM pg_namespace n WHERE n.nspname = $1),
dep AS (SELECT d.classid, d.objid FROM pg_depend d, ns WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = ns.oid),
typ AS (SELECT t.* FROM dep JOIN pg_type t ON dep.classid = 'pg_type'::regclass AND t.oid = dep.objid),
rel AS (SELECT c.* FROM dep JOIN pg_class c ON dep.classid = 'pg_class'::regclass AND c.oid = dep.objid WHERE c.relname <> 'atlas_schema_revisions'
        UNION ALL SELECT c.* FROM typ JOIN pg_class c ON c.oid = typ.typrelid WHERE typ.typtype = 'c'),
func AS (SELECT p.*, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS signature
           FROM dep JOIN pg_proc p ON dep.classid = 'pg_proc'::regclass AND p.oid = dep.objid),
owned(name, owner) AS (
  SELECT 'relation ' || relname, relowner FROM rel
  UNION ALL SELECT 'type ' || typname, typowner FROM typ
  UNION ALL SELECT 'function ' || signature, proowner FROM func),
acl(name, items) AS (
  SELECT 'relation ' || relname, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM rel
  UNION ALL SELECT 'column ' || rel.relname || '.' || a.attname, a.attacl FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND NOT a.attisdropped AND a.attacl IS NOT NULL
  UNION ALL SELECT 'type ' || typname, coalesce(typacl, acldefault('T', typowner)) FROM typ
  UNION ALL SELECT 'function ' || signature, coalesce(proacl, acldefault('f', proowner)) FROM func
  UNION ALL SELECT 'default of ' || CASE d.defaclrole WHEN ns.owner THEN '@' ELSE d.defaclrole::regrole::text END || ' ' || d.defaclobjtype::text, d.defaclacl
    FROM ns, dep JOIN pg_default_acl d ON dep.classid = 'pg_default_acl'::regclass AND d.oid = dep.objid),
line(kind, name, def) AS (
  SELECT 'relation', relname::text, concat_ws('|', relkind, relpersistence, relrowsecurity, relforcerowsecurity, relreplident, relispartition,
         (SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest(reloptions) o), am.amname,
         CASE WHEN relkind = 'p' THEN pg_get_partkeydef(rel.oid) END, pg_get_expr(relpartbound, rel.oid),
         CASE WHEN relkind IN ('v','m') THEN pg_get_viewdef(rel.oid, true) END,
         (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = rel.oid),
         'c=' || obj_description(rel.oid, 'pg_class'))
    FROM rel LEFT JOIN pg_am am ON am.oid = relam
  UNION ALL
  SELECT 'column', rel.relname || '.' || a.attname, concat_ws('|', format_type(a.atttypid, a.atttypmod), a.attnotnull, 'i' || a.attidentity::text, 'g' || a.attgenerated::text,
         CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END, CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END, 'z' || a.attcompression::text,
         a.attstattarget, a.attoptions::text, 'd=' || pg_get_expr(d.adbin, d.adrelid),
         -- PostgreSQL 18 keeps NOT NULL as a constraint with a name of its own; only what attnotnull does not say counts
         (SELECT 'n' || k.convalidated::text || k.connoinherit::text FROM pg_constraint k
           WHERE k.conrelid = rel.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT (k.convalidated AND NOT k.connoinherit)),
         'c=' || col_description(rel.oid, a.attnum))
    FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE rel.relkind <> 'S'
  UNION ALL
  SELECT 'index', rel.relname || '.' || ic.relname, concat_ws('|', pg_get_indexdef(i.indexrelid, 0, true), i.indisvalid, i.indisready, i.indisclustered, i.indisreplident, ic.reloptions::text,
         'c=' || obj_description(ic.oid, 'pg_class'))
    FROM rel JOIN pg_index i ON i.indrelid = rel.oid JOIN pg_class ic ON ic.oid = i.indexrelid
  UNION ALL
  SELECT 'constraint', rel.relname || '.' || k.conname, concat_ws('|', pg_get_constraintdef(k.oid, true), k.convalidated, k.connoinherit, 'c=' || obj_description(k.oid, 'pg_constraint'))
    FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid AND k.contype NOT IN ('n', 't')
  UNION ALL
  SELECT 'trigger', rel.relname || '.' || g.tgname, concat_ws('|', pg_get_triggerdef(g.oid, true), g.tgenabled, 'c=' || obj_description(g.oid, 'pg_trigger'))
    FROM rel JOIN pg_trigger g ON g.tgrelid = rel.oid AND NOT g.tgisinternal
  UNION ALL
  SELECT 'rule', rel.relname || '.' || r.rulename, concat_ws('|', pg_get_ruledef(r.oid, true), r.ev_enabled)
    FROM rel JOIN pg_rewrite r ON r.ev_class = rel.oid AND r.rulename <> '_RETURN'
  UNION ALL
  SELECT 'policy', rel.relname || '.' || p.polname, concat_ws('|', p.polcmd, p.polpermissive,
         (SELECT string_agg(n, ',' ORDER BY n COLLATE "C") FROM ns, unnest(p.polroles) r,
            LATERAL (SELECT CASE r WHEN 0 THEN 'public' WHEN ns.owner THEN '@' WHEN ns.app THEN '&' ELSE r::regrole::text END) l(n)),
         'u=' || pg_get_expr(p.polqual, p.polrelid), 'w=' || pg_get_expr(p.polwithcheck, p.polrelid))
    FROM rel JOIN pg_policy p ON p.polrelid = rel.oid
  UNION ALL
  SELECT 'sequence', rel.relname::text, concat_ws('|', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle,
         (SELECT d.refobjid::regclass || '.' || a.attname || d.deptype::text FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
           WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a','i') LIMIT 1))
    FROM rel JOIN pg_sequence s ON s.seqrelid = rel.oid
  UNION ALL
  SELECT 'type', typname::text, concat_ws('|', typtype, CASE WHEN typtype = 'd' THEN format_type(typbasetype, typtypmod) END, typnotnull, 'd=' || typdefault,
         (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = typ.oid),
         (SELECT string_agg(k.conname || ' ' || pg_get_constraintdef(k.oid, true) || k.convalidated, ',' ORDER BY k.conname COLLATE "C") FROM pg_constraint k WHERE k.contypid = typ.oid AND k.contype <> 'n'),
         'c=' || obj_description(typ.oid, 'pg_type')) FROM typ
  UNION ALL
  SELECT 'function', signature, concat_ws('|', prokind, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
         provolatile, proparallel, prosecdef, proisstrict, proleakproof, procost, prorows, proconfig::text, coalesce(pg_get_function_sqlbody(p.oid), prosrc), probin,
         'c=' || obj_description(p.oid, 'pg_proc'))
    FROM func p JOIN pg_language l ON l.oid = prolang
  UNION ALL -- of what is left, presence alone
  SELECT o.type, o.identity, '' FROM dep CROSS JOIN LATERAL pg_identify_object(dep.classid, dep.objid, 0) o
   WHERE dep.classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass, 'pg_default_acl'::regclass)
  UNION ALL
  SELECT '~owner', owned.name, owned.owner::regrole::text FROM owned, ns WHERE owned.owner <> ns.owner
  UNION ALL
  SELECT '~right', acl.name, concat(CASE x.grantee WHEN 0 THEN 'public' WHEN ns.owner THEN '@' WHEN ns.app THEN '&' ELSE x.grantee::regrole::text END,
         '=', x.privilege_type, CASE WHEN x.is_grantable THEN '*' END, '/', CASE x.grantor WHEN ns.owner THEN '@' WHEN ns.app THEN '&' ELSE x.grantor::regrole::text END)
    FROM ns, acl, aclexplode(acl.items) x)
