// Relations of pg_catalog any client may read: what describes types, relations and the server itself,
// never what holds data of tables, other sessions' statements, secrets or files. An allow-list: a
// relation that is not here, one of a later version too, is refused. Columns of some are masked (HIDDEN in
// catalogue-resolve.ts).

const HARMLESS = new Set(
  `pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members
  pg_available_extension_versions pg_available_extensions pg_cast pg_class pg_collation
  pg_constraint pg_conversion pg_cursors pg_database pg_default_acl pg_depend pg_description pg_enum
  pg_event_trigger pg_extension pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_group
  pg_index pg_indexes pg_inherits pg_init_privs pg_language pg_locks pg_matviews pg_namespace
  pg_opclass pg_operator pg_opfamily pg_parameter_acl pg_partitioned_table pg_policies pg_policy
  pg_prepared_statements pg_proc pg_publication pg_publication_namespace pg_publication_rel
  pg_publication_tables pg_range pg_rewrite pg_roles pg_rules pg_seclabel pg_seclabels pg_sequence
  pg_sequences pg_settings pg_shdepend pg_shdescription pg_shseclabel pg_stat_all_indexes
  pg_stat_all_tables pg_stat_sys_indexes pg_stat_sys_tables pg_stat_user_functions pg_stat_user_indexes
  pg_stat_user_tables pg_statio_all_indexes pg_statio_all_sequences pg_statio_all_tables
  pg_statio_user_indexes pg_statio_user_sequences pg_statio_user_tables pg_statistic_ext
  pg_stat_database pg_stat_gssapi pg_stat_ssl pg_subscription pg_tables pg_tablespace pg_timezone_abbrevs pg_timezone_names pg_transform
  pg_trigger pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template pg_type pg_user
  pg_user_mapping pg_user_mappings pg_views`.split(/\s+/),
);

/** What was read of each table, how large it is, what is locked in it. */
export const COUNTS: ReadonlySet<string> = new Set(
  `pg_locks pg_stat_all_indexes pg_stat_all_tables pg_stat_sys_indexes pg_stat_sys_tables
  pg_stat_user_indexes pg_stat_user_tables pg_statio_all_indexes pg_statio_all_tables
  pg_statio_user_indexes pg_statio_user_tables`.split(/\s+/),
);

/** Functions that say the same of one. */
export const COUNTING_FUNCTIONS: ReadonlySet<string> = new Set(
  `pg_indexes_size pg_lock_status pg_relation_size pg_stat_get_live_tuples pg_stat_get_numscans
  pg_table_size pg_total_relation_size`.split(/\s+/),
);

/** Extensions' relations that show other sessions' statements, wherever they are installed. */
const SENSITIVE_ANYWHERE = new Set(["pg_stat_statements", "pg_stat_statements_info"]);

/** But for these: passwords for other servers are among the options. */
const SECRETS = new Set(["user_mapping_options", "_pg_user_mappings"]);

export function isSystemSchema(schema: string): boolean {
  return (
    schema === "pg_catalog" ||
    schema === "information_schema" ||
    schema === "pg_toast" ||
    schema.startsWith("pg_toast_temp_")
  );
}

/** "user": not the system's. "harmless": read by every client. "sensitive": refused. */
export function judgeSystemRelation(
  schema: string,
  name: string,
): "user" | "harmless" | "sensitive" {
  if (SENSITIVE_ANYWHERE.has(name)) return "sensitive";
  if (!isSystemSchema(schema)) return "user";
  if (schema === "pg_catalog") return HARMLESS.has(name) ? "harmless" : "sensitive";
  // information_schema shows nothing but definitions, and only of what the role may use.
  return schema === "information_schema" && !SECRETS.has(name) ? "harmless" : "sensitive";
}
