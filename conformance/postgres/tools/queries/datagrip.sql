select version(), current_database(), current_user, current_schema
-- next
SET extra_float_digits = 3
-- next
select current_database() as a, current_schemas(false) as b
-- next
select case when pg_catalog.pg_is_in_recovery() then null else (pg_catalog.txid_current() % 4294967296)::varchar::bigint end as current_txid
-- next
select round(extract(epoch from pg_catalog.pg_postmaster_start_time() at time zone 'UTC')) as startup_time
-- next
select N.oid::bigint as id, datname as name, D.description, datistemplate as is_template, datallowconn as allow_connections, pg_catalog.pg_get_userbyid(N.datdba) as "owner" from pg_catalog.pg_database N left join pg_catalog.pg_shdescription D on N.oid = D.objoid order by case when datname = pg_catalog.current_database() then -1::bigint else N.oid::bigint end
-- next
select member id, roleid role_id, admin_option from pg_catalog.pg_auth_members order by id, roleid::text
-- next
select T.oid::bigint as id, T.spcname as name, T.xmin as state_number, pg_catalog.pg_get_userbyid(T.spcowner) as owner, pg_catalog.pg_tablespace_location(T.oid) as location, T.spcoptions as options, D.description as comment from pg_catalog.pg_tablespace T left join pg_catalog.pg_shdescription D on D.objoid = T.oid
-- next
select N.oid::bigint as id, N.xmin as state_number, nspname as name, D.description, pg_catalog.pg_get_userbyid(N.nspowner) as "owner" from pg_catalog.pg_namespace N left join pg_catalog.pg_description D on N.oid = D.objoid order by case when nspname = pg_catalog.current_schema() then -1::bigint else N.oid::bigint end
-- next
select L.transactionid::varchar::bigint as transaction_id from pg_catalog.pg_locks L where L.transactionid is not null order by pg_catalog.age(L.transactionid) desc limit 1
-- next
select T.relkind as kind, T.relname as name, T.oid as id, T.xmin as state_number, false as with_oids, T.reltablespace as tablespace_id, T.reloptions as options, T.relpersistence as persistence, (select pg_catalog.array_agg(inhparent::bigint order by inhseqno)::varchar from pg_catalog.pg_inherits where T.oid = inhrelid) as ancestors, T.relispartition as is_partition, pg_catalog.pg_get_partkeydef(T.oid) as partition_key, pg_catalog.pg_get_expr(T.relpartbound, T.oid) as partition_expression, T.relam am_id, pg_catalog.pg_get_userbyid(T.relowner) as "owner" from pg_catalog.pg_class T where relnamespace = 2200::oid and relkind in ('r', 'm', 'v', 'f', 'p') order by relkind, id
-- next
with schema_procs as (select prorettype, proargtypes, proallargtypes from pg_catalog.pg_proc where pronamespace = 2200::oid), schema_opers as (select oprleft, oprright, oprresult from pg_catalog.pg_operator where oprnamespace = 2200::oid) select oid, typname from pg_catalog.pg_type where oid in (select prorettype from schema_procs union select oprleft from schema_opers)
-- next
with T as (select distinct T.oid as table_id, T.relname as table_name from pg_catalog.pg_class T, pg_catalog.pg_attribute A where T.relnamespace = 2200::oid and T.relkind in ('r', 'm', 'v', 'f', 'p') and A.attrelid = T.oid) select T.table_id, C.attnum as column_position, C.attname as column_name, C.xmin as column_state_number, C.atttypmod as type_mod, C.attndims as dimensions_number, pg_catalog.format_type(C.atttypid, C.atttypmod) as type_spec, C.atttypid as type_id, C.attnotnull as mandatory, pg_catalog.pg_get_expr(D.adbin, T.table_id) as column_default_expression, not C.attislocal as column_is_inherited, C.attfdwoptions as options, C.attisdropped as column_is_dropped, C.attidentity as identity_kind, C.attgenerated as generated from T join pg_catalog.pg_attribute C on T.table_id = C.attrelid left join pg_catalog.pg_attrdef D on (C.attrelid, C.attnum) = (D.adrelid, D.adnum) where attnum > 0 order by table_id, attnum
-- next
select tab.oid table_id, tab.relkind table_kind, ind_stor.relname index_name, ind_head.indexrelid index_id, ind_stor.xmin state_number, ind_head.indisunique is_unique, ind_head.indisprimary is_primary, ind_head.indkey as column_positions, ind_head.indclass as column_operators, ind_head.indoption as column_options, pg_catalog.pg_get_expr(ind_head.indpred, ind_head.indrelid) as condition, case when ind_head.indexprs is not null then pg_catalog.array_to_string(array(select case when indkey[k] = 0 then chr(27) || pg_catalog.pg_get_indexdef(ind_head.indexrelid, k + 1, true) else pg_catalog.pg_get_indexdef(ind_head.indexrelid, k + 1, true) end from pg_catalog.generate_subscripts(ind_head.indkey, 1) as k order by k), chr(28)) end as expressions, pg_catalog.obj_description(ind_stor.oid) as comment, am.amname as access_method from pg_catalog.pg_class tab join pg_catalog.pg_index ind_head on ind_head.indrelid = tab.oid join pg_catalog.pg_class ind_stor on tab.relnamespace = ind_stor.relnamespace and ind_stor.oid = ind_head.indexrelid left join pg_catalog.pg_am am on ind_stor.relam = am.oid where tab.relnamespace = 2200::oid
-- next
select T.oid table_id, relkind table_kind, C.oid::bigint con_id, C.xmin::varchar::bigint con_state_id, conname con_name, contype con_kind, conkey con_columns, conindid index_id, confrelid ref_table_id, condeferrable is_deferrable, condeferred is_init_deferred, confupdtype on_update, confdeltype on_delete, connoinherit no_inherit, pg_catalog.pg_get_expr(conbin, T.oid) con_expression, confkey ref_columns, conexclop::int[] excl_operators, array(select unnest::regoper::varchar from unnest(conexclop)) excl_operators_str from pg_catalog.pg_constraint C join pg_catalog.pg_class T on C.conrelid = T.oid where relkind in ('r', 'v', 'f', 'p') and relnamespace = 2200::oid and contype in ('p', 'u', 'f', 'c', 'x') and connamespace = 2200::oid
-- next
select T.relkind as view_kind, T.oid as view_id, pg_catalog.pg_get_viewdef(T.oid, true) as source_text from pg_catalog.pg_class T join pg_catalog.pg_namespace N on T.relnamespace = N.oid where N.oid = 2200::oid and T.relkind in ('m', 'v') and not (T.relname = 'pg_views' and nspname = 'pg_catalog')
-- next
with system_languages as (select oid as lang from pg_catalog.pg_language where lanname in ('c', 'internal')) select PC.oid as id, pg_catalog.pg_get_function_arguments(PC.oid) as arguments_def, pg_catalog.pg_get_function_result(PC.oid) as result_def, pg_catalog.pg_get_function_sqlbody(PC.oid) as sqlbody_def, PC.prosrc as source_text from pg_catalog.pg_proc PC where PC.pronamespace = 2200::oid and PC.prolang not in (select lang from system_languages) and PC.prokind != 'a'
-- next
select D.objoid id, case when 'pg_catalog.pg_class'::pg_catalog.regclass = classoid then 'T' else 'Z' end as kind, D.objsubid sub_id, D.description from pg_catalog.pg_description D join pg_catalog.pg_class C on D.objoid = C.oid where C.relnamespace = 2200::oid
-- next
select T.oid as object_id, T.relacl as acl from pg_catalog.pg_class T where relnamespace = 2200::oid
-- next
SHOW TRANSACTION ISOLATION LEVEL
-- next
select t.* from public.items t limit 501
-- next
SET application_name = 'DataGrip 2025.2'
-- next
select current_database(), current_schema(), current_user
-- next
show DateStyle
-- next
select z.name, z.is_dst from pg_catalog.pg_timezone_names z union distinct select b.abbrev, b.is_dst from pg_catalog.pg_timezone_abbrevs b
-- next
select R.oid::bigint as id, R.rolname, R.rolsuper, R.rolinherit, R.rolcreaterole, R.rolcreatedb, R.rolcanlogin, R.rolreplication, R.rolconnlimit, R.rolvaliduntil, R.rolbypassrls, R.rolconfig, S.description from pg_catalog.pg_roles R left join pg_catalog.pg_shdescription S on R.oid = S.objoid
-- next
select oid as id, spcacl as acl from pg_catalog.pg_tablespace union all select oid, datacl from pg_catalog.pg_database
-- next
select usesuper from pg_user where current_user = usename
-- next
select e.oid as id, e.xmin as state, e.evtname, e.evtevent, e.evtfoid, pg_catalog.pg_get_userbyid(e.evtowner) as owner, e.evttags, e.evtenabled = 'D' as disabled from pg_catalog.pg_event_trigger e
-- next
select w.oid as id, w.xmin as state, w.fdwname, w.fdwoptions, h.proname, hn.nspname, v.proname, vn.nspname, pg_catalog.pg_get_userbyid(w.fdwowner) as owner from pg_catalog.pg_foreign_data_wrapper w left join pg_catalog.pg_proc h on h.oid = w.fdwhandler left join pg_catalog.pg_namespace hn on hn.oid = h.pronamespace left join pg_catalog.pg_proc v on v.oid = w.fdwvalidator left join pg_catalog.pg_namespace vn on vn.oid = v.pronamespace
-- next
select s.oid as id, s.srvfdw, s.xmin as state, s.srvname, s.srvtype, s.srvversion, s.srvoptions, pg_catalog.pg_get_userbyid(s.srvowner) as owner from pg_catalog.pg_foreign_server s
-- next
select m.oid as id, m.umserver, case m.umuser when 0 then null else pg_catalog.pg_get_userbyid(m.umuser) end as of_user, m.umoptions from pg_catalog.pg_user_mapping m order by m.umserver
-- next
select m.oid as id, m.xmin as state, m.amname, m.amhandler::oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) as handler, m.amtype from pg_am m join pg_proc p on p.oid = m.amhandler::oid join pg_namespace n on n.oid = p.pronamespace
-- next
select x.oid as id, x.xmin as state, x.extname, x.extversion, x.extnamespace, n.nspname, array(select later from unnest(v.versions) as later where later > x.extversion) as updates from pg_catalog.pg_extension x join pg_namespace n on n.oid = x.extnamespace left join (select name, array_agg(version) as versions from pg_available_extension_versions() group by name) v on v.name = x.extname
-- next
SELECT part.oid, n.nspname = ANY(current_schemas(true)), n.nspname, part.typname FROM pg_catalog.pg_type whole JOIN pg_catalog.pg_type part ON part.oid = whole.typelem JOIN pg_catalog.pg_namespace n ON n.oid = whole.typnamespace WHERE whole.oid = 1009
-- next
select g.oid as id, g.xmin as state, g.lanname, g.lanpltrusted, c.proname, cn.nspname, i.proname, ins.nspname, v.proname, vn.nspname from pg_catalog.pg_language g left join pg_catalog.pg_proc c on c.oid = g.lanplcallfoid left join pg_catalog.pg_namespace cn on cn.oid = c.pronamespace left join pg_catalog.pg_proc i on i.oid = g.laninline left join pg_catalog.pg_namespace ins on ins.oid = i.pronamespace left join pg_catalog.pg_proc v on v.oid = g.lanvalidator left join pg_catalog.pg_namespace vn on vn.oid = v.pronamespace order by g.lanname
-- next
select objoid as id, classoid::regclass as kind, objsubid, description from pg_catalog.pg_description where classoid in ('pg_catalog.pg_event_trigger'::regclass, 'pg_catalog.pg_am'::regclass, 'pg_catalog.pg_cast'::regclass, 'pg_catalog.pg_foreign_data_wrapper'::regclass, 'pg_catalog.pg_foreign_server'::regclass, 'pg_catalog.pg_language'::regclass, 'pg_catalog.pg_extension'::regclass)
-- next
select oid, fdwacl as acl from pg_catalog.pg_foreign_data_wrapper union all select oid, lanacl from pg_catalog.pg_language union all select oid, nspacl from pg_catalog.pg_namespace union all select oid, srvacl from pg_catalog.pg_foreign_server
-- next
select c.oid, c.xmin as state, c.castsource, pg_catalog.quote_ident(s.typname) as source, c.casttarget, pg_catalog.quote_ident(t.typname) as target, c.castfunc, f.proname, c.castcontext, c.castmethod from pg_cast c left join pg_proc f on f.oid = c.castfunc::oid join pg_type s on s.oid = c.castsource::oid join pg_type t on t.oid = c.casttarget::oid
-- next
select x.oid as extension, d.objid as member from pg_extension x join pg_depend d on d.refclassid = 'pg_extension'::regclass::oid and d.refobjid = x.oid where d.deptype = 'e' order by 1
-- next
select oid, relnamespace, pg_catalog.translate(relkind, 'rmvpfS', 'rmvrfS') as kind, relname from pg_catalog.pg_class where relnamespace in (2200) and relkind in ('r', 'm', 'v', 'p', 'f', 'S') union all select t.oid, t.typnamespace, 'T', t.typname from pg_catalog.pg_type t left join pg_catalog.pg_class c on c.oid = t.typrelid where t.typnamespace in (2200) and (t.typtype in ('d', 'e') or c.relkind = 'c'::"char" or t.typtype = 'b' and (t.typelem = 0 or t.typcategory <> 'A') or t.typtype = 'p' and not t.typisdefined) union all select oid, collnamespace, 'C', collname from pg_catalog.pg_collation where collnamespace in (11) union all select oid, oprnamespace, 'O', oprname from pg_catalog.pg_operator where oprnamespace in (11) union all select oid, opcnamespace, 'c', opcname from pg_catalog.pg_opclass where opcnamespace in (11) union all select oid, opfnamespace, 'F', opfname from pg_catalog.pg_opfamily where opfnamespace in (null) union all select oid, pronamespace, case prokind when 'a' then 'a' else 'R' end, proname from pg_catalog.pg_proc where pronamespace in (2200) order by 2
-- next
select pronamespace, oid, proargnames, proargmodes, array_length(proargtypes, 1) from pg_catalog.pg_proc where pronamespace in (11) order by 1
-- next
with t as (select oid, relkind, relnamespace from pg_catalog.pg_class where relnamespace in (2200) and relkind in ('r', 'm', 'v', 'f', 'p')) select t.relnamespace, t.oid, pg_catalog.translate(t.relkind, 'rmvpf', 'rmvrf') as kind, a.attnum, a.attname from t join pg_catalog.pg_attribute a on a.attrelid = t.oid where not a.attisdropped and a.attnum > 0 order by 1, 2
-- next
select c.xmin as state, q.seqrelid, c.relname, pg_catalog.format_type(q.seqtypid, null) as type, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, q.seqcycle, pg_catalog.pg_get_userbyid(c.relowner) as owner from pg_catalog.pg_sequence q join pg_class c on c.oid = q.seqrelid where c.relnamespace = 2200::oid
-- next
select t.oid as id, t.xmin as state, t.typname, t.typtype, t.typcategory, t.typrelid, t.typbasetype, case when t.typtype not in ('c', 'e') then pg_catalog.format_type(t.typbasetype, t.typtypmod) end as made_of, t.typndims, t.typdefault, t.typnotnull, pg_catalog.pg_get_userbyid(t.typowner) as owner from pg_catalog.pg_type t left join pg_catalog.pg_class c on c.oid = t.typrelid where t.typnamespace = 2200::oid and (c.relkind = 'c'::"char" or t.typtype in ('d', 'e')) order by 1
-- next
select enumtypid, oid, enumsortorder, enumlabel from pg_catalog.pg_enum e where exists (select from pg_catalog.pg_type t where t.oid = e.enumtypid and t.typnamespace = 2200::oid) order by 1, 3
-- next
select T.relkind, T.relname, T.oid, T.reloptions, T.relpersistence, (select pg_catalog.array_agg(inhrelid::bigint order by inhrelid)::varchar from pg_catalog.pg_inherits where inhparent = T.oid) as children, T.relhassubclass from pg_catalog.pg_class T where relnamespace = 2200::oid and relkind in ('r', 'p')
-- next
select f.ftrelid, s.srvname, f.ftoptions, pg_catalog.pg_get_userbyid(c.relowner) as owner from pg_catalog.pg_foreign_table f left join pg_catalog.pg_foreign_server s on s.oid = f.ftserver join pg_catalog.pg_class c on c.oid = f.ftrelid where c.relnamespace = 2200::oid order by 1
-- next
with of_schema as (select prorettype, proargtypes, proallargtypes from pg_catalog.pg_proc where pronamespace = 11::oid), types as (select prorettype as type from of_schema union select distinct unnest(proargtypes) from of_schema union select distinct unnest(proallargtypes) from of_schema union select oprleft from pg_catalog.pg_operator where oprnamespace = 11::oid and oprleft is not null union select a.aggtranstype::oid from pg_catalog.pg_aggregate a join pg_catalog.pg_proc p on p.oid = a.aggfnoid where p.pronamespace = 11::oid union select aggmtranstype::oid from pg_catalog.pg_aggregate) select type, pg_catalog.format_type(type, null) from types where type <> 0
-- next
with languages as (select oid as prolang, lanname from pg_catalog.pg_language), routines as (select oid as id, xmin as state, proname, prolang, proargnames, proargmodes, proargtypes::int[] as args, proallargtypes::int[] as all_args, pg_catalog.pg_get_expr(proargdefaults, 0) as defaults, provariadic, prorettype, proretset, prokind, provolatile, proisstrict, prosecdef, proconfig, procost, prorows, proleakproof, proparallel, pg_catalog.pg_get_userbyid(proowner) as owner from pg_catalog.pg_proc where pronamespace = 2200::oid and prokind <> 'a') select * from routines natural join languages
-- next
select p.oid as id, p.xmin as state, p.proname, a.aggtransfn::oid, a.aggtransfn::regproc::text, a.aggtranstype, a.aggfinalfn::oid, case when a.aggfinalfn::oid <> 0 then a.aggfinalfn::regproc::varchar end, a.agginitval, a.aggsortop, case when a.aggsortop <> 0 then a.aggsortop::regoper::varchar end, a.aggfinalextra, a.aggtransspace, a.aggmtransfn::oid, a.aggmtranstype::oid, a.aggmtransspace, a.aggmfinalfn::oid, a.aggmfinalextra, a.aggminitval, a.aggminvtransfn::oid, a.aggkind, a.aggnumdirectargs, a.aggcombinefn::oid, a.aggserialfn::oid, a.aggdeserialfn::oid, p.proparallel from pg_catalog.pg_aggregate a join pg_catalog.pg_proc p on p.oid = a.aggfnoid where p.pronamespace = 11::oid order by 1
-- next
select o.oid as id, o.xmin as state, o.oprname, o.oprkind, o.oprleft, o.oprright, o.oprresult, o.oprcode::oid, o.oprcode::varchar, o.oprrest::oid, o.oprrest::varchar, o.oprjoin::oid, o.oprjoin::varchar, o.oprcom::oid, o.oprcom::regoper::varchar, o.oprnegate::oid, o.oprnegate::regoper::varchar, o.oprcanmerge, o.oprcanhash, pg_catalog.pg_get_userbyid(o.oprowner) as owner from pg_catalog.pg_operator o where o.oprnamespace = 2200::oid
-- next
select oid as id, xmin as state, collname, collcollate, collctype, pg_catalog.pg_get_userbyid(collowner) as owner from pg_catalog.pg_collation where collnamespace = 11::oid
-- next
select o.oid as id, o.xmin as state, o.opcname, o.opcintype::regtype::varchar, case when o.opckeytype <> 0 then o.opckeytype::regtype::varchar end, o.opcdefault, o.opcfamily, f.opfname, o.opcmethod, f.opfmethod, pg_catalog.pg_get_userbyid(o.opcowner), pg_catalog.pg_get_userbyid(f.opfowner) from pg_catalog.pg_opclass o join pg_catalog.pg_opfamily f on f.oid = o.opcfamily where o.opcnamespace = 11::oid
-- next
select m.oid as id, m.amopstrategy, m.amopopr, m.amopopr::regoperator::varchar, m.amopsortfamily, sorted.opfname, m.amopfamily, c.oid from pg_catalog.pg_amop m left join pg_opfamily f on f.oid = m.amopfamily left join pg_opfamily sorted on sorted.oid = m.amopsortfamily left join pg_depend d on d.classid = 'pg_amop'::regclass and d.objid = m.oid and d.objsubid = 0 left join pg_opclass c on d.refclassid = 'pg_opclass'::regclass and d.refobjid = c.oid and d.refobjsubid = 0 where c.opcnamespace = 11::oid or c.opcnamespace is null and f.opfnamespace = 11::oid order by 8, 7
-- next
select p.oid as id, p.amprocnum, p.amproc::oid, p.amproc::regprocedure::varchar, p.amproclefttype::regtype::varchar, p.amprocrighttype::regtype::varchar, p.amprocfamily from pg_catalog.pg_amproc p join pg_opfamily f on f.oid = p.amprocfamily where f.opfnamespace = 11::oid
-- next
select t.oid, t.relkind, s.relname, h.indexrelid, s.xmin as state, h.indisunique, h.indisprimary, h.indnullsnotdistinct, pg_catalog.pg_get_expr(h.indpred, h.indrelid), (select pg_catalog.array_agg(inhparent::bigint order by inhseqno)::varchar from pg_catalog.pg_inherits where inhrelid = s.oid) as parents, s.reltablespace, c.opcmethod from pg_catalog.pg_class t join pg_catalog.pg_index h on h.indrelid = t.oid join pg_catalog.pg_class s on s.oid = h.indexrelid left join pg_catalog.pg_opclass c on c.oid = any(h.indclass) where t.relnamespace = 2200::oid and s.relkind in ('i', 'I')
-- next
select h.indexrelid, k, k <= h.indnkeyatts as in_key, h.indkey[k - 1], h.indoption[k - 1], h.indcollation[k - 1], cn.nspname, l.collname, h.indclass[k - 1], case when not c.opcdefault then n.nspname end, case when not c.opcdefault then c.opcname end, case when h.indexprs is not null then chr(27) || pg_catalog.pg_get_indexdef(h.indexrelid, k::int, true) end, can_order from pg_catalog.pg_index h join pg_catalog.pg_class s on s.oid = h.indexrelid cross join unnest(h.indkey) with ordinality u(u, k) left join pg_catalog.pg_collation l on l.oid = h.indcollation[k - 1] left join pg_catalog.pg_namespace cn on cn.oid = l.collnamespace cross join pg_catalog.pg_indexam_has_property(s.relam, 'can_order') can_order left join pg_catalog.pg_opclass c on c.oid = h.indclass[k - 1] left join pg_catalog.pg_namespace n on n.oid = c.opcnamespace where s.relnamespace = 2200::oid order by 1, 2
-- next
select r.oid, r.xmin as state, r.rulename, r.ev_class, pg_catalog.translate(r.ev_type, '1234', 'SUID') as event, r.ev_enabled = 'D' as disabled, r.is_instead, pg_catalog.pg_get_ruledef(r.oid) as text from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class where c.relnamespace = 2200::oid and r.rulename <> '_RETURN'
-- next
select p.oid as id, p.xmin as state, p.polname, p.polrelid, p.polpermissive, p.polroles, p.polcmd, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid) from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid where c.relnamespace = 2200::oid order by 4
-- next
select t.oid as id, t.xmin as state, t.tgname, t.tgrelid, t.tgfoid, pg_catalog.encode(t.tgargs, 'escape') as args, t.tgtype, t.tgenabled, t.tgattr, t.tgdeferrable, t.tginitdeferred, t.tgoldtable, t.tgnewtable, pg_catalog.pg_get_triggerdef(t.oid, true) as text from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid where c.relnamespace = 2200::oid and not t.tgisinternal
-- next
select d.objoid, pg_catalog.array_agg(d.objsubid) from pg_catalog.pg_description d join pg_catalog.pg_class c on c.oid = d.objoid where c.relnamespace = 2200::oid and c.relkind <> 'c' and d.classoid = 'pg_catalog.pg_class'::regclass group by 1 union all select d.objoid, array[d.objsubid] from pg_catalog.pg_description d join pg_catalog.pg_rewrite r on r.oid = d.objoid join pg_catalog.pg_class c on c.oid = r.ev_class where c.relnamespace = 2200::oid and d.classoid = 'pg_catalog.pg_rewrite'::regclass union all select d.objoid, array[d.objsubid] from pg_catalog.pg_description d join pg_catalog.pg_opfamily f on f.oid = d.objoid where f.opfnamespace = 11::oid and d.classoid = 'pg_catalog.pg_opfamily'::regclass union all select d.objoid, array[d.objsubid] from pg_catalog.pg_description d join pg_catalog.pg_policy p on p.oid = d.objoid join pg_catalog.pg_class c on c.oid = p.polrelid where c.relnamespace = 2200::oid and d.classoid = 'pg_catalog.pg_policy'::regclass
-- next
select oid, relacl from pg_catalog.pg_class where relnamespace = 2200::oid and pg_catalog.age(xmin) <= pg_catalog.age('1'::varchar::xid) union all select oid, proacl from pg_catalog.pg_proc where pronamespace = 2200::oid union all select oid, typacl from pg_catalog.pg_type where typnamespace = 2200::oid order by 1
-- next
select c.oid, a.attnum, a.attacl from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid where c.relnamespace = 2200::oid and a.attnum > 0 and pg_catalog.age(a.xmin) <= coalesce(nullif(greatest(pg_catalog.age('1'::varchar::xid), -1), -1), 2147483647) order by 1, 2
-- next
select d.objid, d.refobjid, d.refobjsubid from pg_depend d join pg_class s on s.oid = d.objid and d.classid = 'pg_class'::regclass::oid join pg_class t on t.oid = d.refobjid and d.refclassid = 'pg_class'::regclass::oid where s.relkind = 'S' and t.relkind = 'r' and d.refobjsubid <> 0 and d.deptype in ('a', 'i') order by 2
-- next
select oid as id, pg_catalog.pg_get_function_identity_arguments(oid) as arguments, pg_catalog.pg_get_functiondef(oid) as text, pg_catalog.pg_get_function_arg_default(oid, 1) from pg_catalog.pg_proc where pronamespace = 2200::oid and prokind in ('f', 'p')
-- next
select c.oid, pg_catalog.pg_relation_size(c.oid) as size, c.reltuples::bigint as about from pg_catalog.pg_class c where c.relnamespace = 2200::oid and c.relkind = 'r'
-- next
SET search_path TO "public"
-- next
explain (format json) select t.* from public.many t
