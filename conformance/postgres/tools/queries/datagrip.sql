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
