SET application_name = 'DBeaver 24 - Main'
-- next
SHOW search_path
-- next
select current_schema(), session_user
-- next
SELECT current_database(), current_user, version()
-- next
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate ORDER BY db.datname
-- next
select * from pg_catalog.pg_settings where name = 'standard_conforming_strings'
-- next
select string_agg(word, ',') from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs,absolute,action}'::text[])
-- next
SELECT typcategory FROM pg_catalog.pg_type WHERE 1<>1 LIMIT 1
-- next
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass ORDER BY nspname
-- next
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')
-- next
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr, pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relnamespace = $1 AND c.relkind not in ('i', 'I', 'c')
-- next
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value, dsc.description, dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and dep.refobjsubid = a.attnum and dep.classid = dep.refclassid WHERE NOT a.attisdropped AND c.relkind not in ('i', 'I', 'c') AND c.oid = $1 ORDER BY a.attnum
-- next
SELECT c.oid, c.*, t.relname as tabrelname, rt.relnamespace as refnamespace, d.description, case when c.contype = 'c' then substring(pg_get_constraintdef(c.oid), 7) else null end consrc_copy FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass WHERE c.conrelid = $1 ORDER BY c.oid
-- next
SELECT i.*, i.indkey as keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname as tabrelname, dsc.description, pg_catalog.pg_get_expr(i.indpred, i.indrelid) as pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) as expr, pg_catalog.pg_relation_size(i.indexrelid) as index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) as index_num_scans FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid WHERE i.indrelid = $1 ORDER BY tabrelname, c.relname
-- next
select c.oid, pg_catalog.pg_total_relation_size(c.oid) as total_rel_size, pg_catalog.pg_relation_size(c.oid) as rel_size FROM pg_class c WHERE c.relnamespace = $1
-- next
SELECT DISTINCT dep.deptype, dep.classid, dep.objid, cl.relkind, attr.attname, pg_get_expr(ad.adbin, ad.adrelid) adefval FROM pg_catalog.pg_depend dep LEFT JOIN pg_catalog.pg_class cl ON dep.objid = cl.oid LEFT JOIN pg_catalog.pg_attribute attr ON dep.objid = attr.attrelid AND dep.objsubid = attr.attnum LEFT JOIN pg_catalog.pg_attrdef ad ON dep.objid = ad.oid WHERE dep.refobjid = $1
-- next
SELECT x.oid, x.*, pg_catalog.pg_get_triggerdef(x.oid) as body, d.description FROM pg_catalog.pg_trigger x LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid WHERE x.tgrelid = $1 AND NOT x.tgisinternal
-- next
SELECT p.oid as poid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) as arg_defaults, pg_catalog.pg_get_functiondef(p.oid) as def FROM pg_catalog.pg_proc p WHERE p.pronamespace = 2200 AND p.prokind <> 'a'
-- next
SELECT r.oid, r.*, d.description FROM pg_catalog.pg_roles r LEFT OUTER JOIN pg_catalog.pg_shdescription d ON d.objoid = r.oid ORDER BY r.rolname
-- next
SELECT e.oid, cfg.* FROM pg_catalog.pg_extension e, pg_catalog.pg_settings cfg WHERE 1<>1
-- next
SELECT x.* FROM public.items x LIMIT 200
-- next
SELECT d.oid, d.* FROM pg_catalog.pg_database d WHERE d.datallowconn AND NOT d.datistemplate OR d.datname = 'test' ORDER BY d.datname
-- next
SELECT datname FROM pg_catalog.pg_database WHERE datistemplate
-- next
SELECT description FROM pg_shdescription JOIN pg_database ON pg_database.oid = objoid WHERE datname = 'test'
-- next
SELECT datname, pg_database_size(oid) FROM pg_catalog.pg_database WHERE datname = current_database()
-- next
SELECT * FROM pg_catalog.pg_enum WHERE 1<>1 LIMIT 1
-- next
SELECT reltype FROM pg_catalog.pg_class WHERE 1<>1 LIMIT 1
-- next
SELECT * FROM pg_catalog.pg_enum
-- next
select * from pg_catalog.pg_settings
-- next
SELECT s.oid AS schema_id FROM pg_catalog.pg_namespace s WHERE s.nspname = 'public'
-- next
SELECT c.oid, c.relkind, c.reltype FROM pg_catalog.pg_class c WHERE c.relnamespace = 2200 AND c.relname = 'items' UNION ALL SELECT t.oid, 'c', t.oid FROM pg_catalog.pg_type t WHERE t.typnamespace = 2200 AND t.typname = 'mood'
-- next
SELECT t.oid AS typid, n.nspname AS typnsname, t.* FROM pg_catalog.pg_type t, pg_catalog.pg_namespace n WHERE n.oid = t.typnamespace
-- next
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_class c ON c.oid = t.typrelid WHERE t.typname = 'mood'
-- next
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr, pg_catalog.pg_get_partkeydef(c.oid) AS partition_key FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relnamespace = 2200 AND c.relkind NOT IN ('i', 'I', 'c')
-- next
SELECT c.oid, pg_catalog.pg_total_relation_size(c.oid) AS total_rel_size, pg_catalog.pg_relation_size(c.oid) AS rel_size FROM pg_class c WHERE c.relnamespace = 2200
-- next
SELECT pg_catalog.pg_total_relation_size(1259) AS total_rel_size, pg_catalog.pg_relation_size(1259) AS rel_size
-- next
SELECT i.inhrelid AS relid, parent.relnamespace AS parent_ns, parent.oid AS parent_oid, i.inhseqno FROM pg_catalog.pg_inherits i, pg_class child, pg_class parent WHERE child.oid = i.inhrelid AND child.relnamespace = 2200 AND parent.oid = i.inhparent
-- next
SELECT i.*, c.relnamespace FROM pg_catalog.pg_inherits i, pg_catalog.pg_class c WHERE c.oid = i.inhparent AND i.inhrelid = 1259 ORDER BY i.inhseqno
-- next
SELECT pg_get_expr(c.relpartbound, c.oid, true) AS partition_range FROM "pg_catalog".pg_class c WHERE relname = 'items' AND relnamespace = 2200
-- next
SELECT * FROM pg_catalog.pg_partition_tree('public.items'::regclass)
-- next
SELECT pg_catalog.pg_partition_root('public.items'::regclass), a.* FROM pg_catalog.pg_partition_ancestors('public.items'::regclass) a
-- next
SELECT DISTINCT connamespace FROM pg_catalog.pg_constraint WHERE confrelid = 1259
-- next
SELECT pg_catalog.pg_get_constraintdef(c.oid) FROM pg_catalog.pg_constraint c WHERE c.connamespace = 2200
-- next
SELECT pg_catalog.pg_get_indexdef(i.indexrelid, 1, true) FROM pg_catalog.pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 2200
-- next
SELECT * FROM pg_catalog.pg_policies WHERE schemaname = 'public' AND tablename = 'items'
-- next
SELECT * FROM pg_default_acl WHERE defaclnamespace = 2200
-- next
SELECT r.oid, r.*, pg_get_ruledef(r.oid) AS definition FROM pg_rewrite r WHERE r.rulename <> '_RETURN'::name
-- next
SELECT x.oid, x.*, p.pronamespace AS func_schema_id, d.description FROM pg_catalog.pg_trigger x LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = x.tgfoid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid AND d.objsubid = 0 WHERE NOT x.tgisinternal
-- next
SELECT pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled FROM pg_catalog.pg_trigger t LIMIT 1
-- next
SELECT t.*, d.description, t.evtenabled FROM pg_catalog.pg_event_trigger t LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = t."oid" WHERE t.evtname = 'none'
-- next
SELECT pg_get_viewdef('public.cheap'::regclass::oid, true)
-- next
SELECT p.oid AS proc_oid, p.proname AS proc_name, a.* FROM pg_catalog.pg_aggregate a, pg_catalog.pg_proc p WHERE p.oid = a.aggfnoid AND p.pronamespace = 11 ORDER BY p.proname
-- next
SELECT p.oid AS poid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description FROM pg_catalog.pg_proc p LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass WHERE p.pronamespace = 2200
-- next
SELECT pg_get_functiondef(p.oid) FROM pg_catalog.pg_proc p, pg_catalog.pg_namespace n WHERE n.oid = p.pronamespace AND n.nspname = 'public'
-- next
SELECT * FROM pg_catalog.pg_sequences WHERE schemaname = 'public' AND sequencename = 'none'
-- next
SELECT am.oid, am.* FROM pg_catalog.pg_am am ORDER BY am.oid
-- next
SELECT oc.oid, oc.* FROM pg_catalog.pg_opclass oc ORDER BY oc.oid
-- next
SELECT f.oid, f.* FROM pg_catalog.pg_opfamily f ORDER BY f.oid
-- next
SELECT o.oid, o.* FROM pg_catalog.pg_operator o WHERE o.oprnamespace = 2200
-- next
SELECT contoencoding AS encid, pg_catalog.pg_encoding_to_char(contoencoding) AS encname FROM pg_catalog.pg_conversion GROUP BY 1 ORDER BY 2
-- next
SELECT l.oid, l.* FROM pg_catalog.pg_collation l ORDER BY l.oid
-- next
SELECT l.oid, l.* FROM pg_catalog.pg_language l ORDER BY l.oid
-- next
SELECT w.oid, w.*, p.pronamespace AS handler_schema_id FROM pg_catalog.pg_foreign_data_wrapper w LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = w.fdwhandler ORDER BY w.fdwname
-- next
SELECT s.oid, s.* FROM pg_catalog.pg_foreign_server s ORDER BY s.srvname
-- next
SELECT * FROM pg_catalog.pg_foreign_table WHERE ftrelid = 1259
-- next
select distinct s.srvname, coalesce(a.rolname, 'public') as rolname, s.srvoptions, m.umoptions from pg_user_mapping m join pg_foreign_server s on s.oid = m.umserver left join pg_authid a on a.oid = m.umuser where s.oid = 1 order by 1
-- next
SELECT t.oid, t.*, pg_tablespace_location(t.oid) AS loc FROM pg_catalog.pg_tablespace t ORDER BY t.oid
-- next
SELECT name, default_version, installed_version, comment FROM pg_catalog.pg_available_extensions ORDER BY name
-- next
SELECT e.oid, cfg.tbls, n.nspname AS schema_name, e.* FROM pg_catalog.pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace LEFT JOIN (SELECT array_agg(ns.nspname || '.' || c.relname) AS tbls, x.ext FROM (SELECT unnest(extconfig) AS oid, oid AS ext FROM pg_catalog.pg_extension) x JOIN pg_class c ON c.oid = x.oid JOIN pg_namespace ns ON ns.oid = c.relnamespace GROUP BY x.ext) cfg ON cfg.ext = e.oid ORDER BY e.oid
-- next
SELECT a.oid, a.*, d.description FROM pg_catalog.pg_roles a LEFT JOIN pg_catalog.pg_shdescription d ON d.objoid = a.oid ORDER BY a.rolname
-- next
SELECT * FROM pg_catalog.pg_auth_members WHERE roleid = 10
-- next
select s.setconfig, d.datname from pg_catalog.pg_db_role_setting s left join pg_catalog.pg_database d on d.oid = s.setdatabase where s.setrole = 10
-- next
SELECT * FROM information_schema.table_privileges WHERE table_catalog = 'test' AND grantee = 'suite'
-- next
SELECT * FROM information_schema.routine_privileges WHERE specific_catalog = 'test' AND grantee = 'suite'
-- next
SELECT * FROM (SELECT DISTINCT relnamespace, relacl, relname, relkind, (aclexplode(relacl)).grantee AS granteei FROM pg_class WHERE relacl IS NOT NULL AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' AND nspname <> 'information_schema') UNION ALL SELECT DISTINCT n.oid, n.nspacl, n.nspname, cast('C' AS "char"), (aclexplode(n.nspacl)).grantee FROM pg_catalog.pg_namespace n WHERE n.nspacl IS NOT NULL) AS given WHERE given.granteei = 10 AND given.relkind IN ('S', 'm', 'C')
-- next
SELECT c.oid, c.relname, c.relnamespace, c.relkind FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND (c.relname ILIKE '%item%' OR obj_description(c.oid, 'pg_class') ILIKE '%item%' OR c.relkind = 'v' AND pg_get_viewdef(c."oid") ILIKE '%item%') AND c.relnamespace IN (2200) ORDER BY c.relname LIMIT 100
-- next
SELECT DISTINCT p.oid, p.proname, p.pronamespace FROM pg_catalog.pg_proc p WHERE (p.proname ILIKE '%add%' OR obj_description(p.oid, 'pg_proc') ILIKE '%add%' OR p.prokind <> 'a' AND pg_get_functiondef(p."oid") ILIKE '%add%') AND p.pronamespace IN (2200) ORDER BY p.proname LIMIT 100
-- next
SELECT c.oid, c.conname, c.connamespace FROM pg_catalog.pg_constraint c WHERE c.conname ILIKE '%item%' OR obj_description(c.oid, 'pg_constraint') ILIKE '%item%' OR pg_get_constraintdef(c."oid") ILIKE '%item%' ORDER BY c.conname LIMIT 100
-- next
SELECT a.attname, a.attrelid, a.atttypid, c.relnamespace FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c WHERE c.oid = a.attrelid AND (a.attname ILIKE '%name%' OR col_description(c.oid, a.attnum) ILIKE '%name%') AND c.relnamespace IN (2200) ORDER BY a.attname LIMIT 100
-- next
select coalesce(d.datname, '') as datname, coalesce(l.locktype, '') as locktype, coalesce(l.relation::regclass::varchar, '') as relation, coalesce(l.mode, '') as mode, coalesce(l.transactionid::varchar, '') as tid, l.page, l.tuple, l.pid, l.granted from pg_catalog.pg_locks l left join pg_catalog.pg_database d on d.oid = l.database where l.pid = 1
-- next
with waits as (select pid, locktype, mode, granted, relation from pg_locks) select w.pid, a.usename, a.query from waits w join pg_catalog.pg_stat_activity a ON a.pid = w.pid where not w.granted
-- next
SELECT sa.* FROM pg_catalog.pg_stat_activity sa
-- next
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity sa WHERE sa.state = 'active') AS "Active"
-- next
SELECT (SELECT sum(xact_commit) + sum(xact_rollback) FROM pg_stat_database) AS "Total", (SELECT sum(blks_read) FROM pg_stat_database) AS "Read", (SELECT sum(blks_hit) FROM pg_stat_database) AS "Hits"
-- next
SELECT pg_catalog.pg_terminate_backend(0)
-- next
SET search_path = public,"$user"
-- next
SET ROLE "suite"
-- next
EXPLAIN (FORMAT XML, ANALYZE, VERBOSE, COSTS, SETTINGS FALSE, BUFFERS FALSE, TIMING FALSE) SELECT * FROM public.many
-- next
EXPLAIN VERBOSE SELECT * FROM public.many
-- next
SELECT count(*) FROM public.items
-- next
SELECT x.* FROM public.items x WHERE x.id > 3 ORDER BY x.id DESC LIMIT 200 OFFSET 0
-- next
UPDATE public.ledger SET amount=0 WHERE id=-1
-- next
SELECT (pg_identify_object('pg_proc'::regclass, g.aggfnoid, 0)).identity, g.aggtransfn::regproc, format_type(g.aggtranstype, NULL) AS aggtranstype, CASE WHEN g.aggfinalfn <> '-'::regproc THEN g.aggfinalfn::text END, CASE WHEN g.aggsortop <> 0 THEN o.oprname END, g.agginitval, g.aggmtransfn, g.aggminvtransfn, g.aggfinalextra, g.aggmfinalextra, g.aggserialfn, g.aggdeserialfn, g.aggmfinalfn, format_type(g.aggmtranstype, NULL), g.aggfinalmodify, g.aggmfinalmodify FROM pg_aggregate g LEFT JOIN pg_operator o ON o.oid = g.aggsortop WHERE g.aggfnoid = 'pg_catalog.max(int)'::regprocedure
