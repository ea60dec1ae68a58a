// Settings (GUCs) a client may touch, by allow-list, whatever door they come through: SET, RESET,
// set_config(), startup parameters, `options`. DESIGN.md: pinned (what changes lexing, name
// resolution or identity), tighten-only (time-outs, read-only), free; what is on no list is refused.

import { APPLICATION_NAME } from "./application-name.ts";

/**
 * How an accepted setting is treated. `noop`: it already has this value and need not be sent. `renamed`:
 * the client has one of its own (application-name.ts).
 */
export type SettingKind = "free" | "tighten" | "noop" | "custody" | "renamed";

export type SettingJudgement =
  | { readonly ok: true; readonly name: string; readonly kind: SettingKind }
  | { readonly ok: false; readonly reason: string };

/** Values a session starts with that may only get stricter: milliseconds; 1 for "read only". */
export type SettingBounds = ReadonlyMap<string, number>;

/** What changes how text is read, names are resolved or who acts; the value it must have, if any. */
const PINNED = new Map<string, readonly string[]>([
  ["search_path", []],
  ["standard_conforming_strings", ["on", "true", "yes", "1"]],
  ["client_encoding", ["utf8", "utf-8", "unicode"]],
  ["backslash_quote", ["safe_encoding"]],
  ["escape_string_warning", ["on", "off"]],
  ["role", []],
  ["session_authorization", []],
  ["is_superuser", []],
  ["transform_null_equals", ["off", "false", "no", "0"]],
  ["session_replication_role", ["origin"]],
  ["lo_compat_privileges", []],
  ["quote_all_identifiers", ["off", "false", "no", "0"]],
  ["array_nulls", ["on"]],
]);

const TIGHTEN_MS = new Set([
  "statement_timeout",
  "lock_timeout",
  "idle_in_transaction_session_timeout",
  "idle_session_timeout",
  "transaction_timeout",
]);

const TIGHTEN_ON = new Set(["default_transaction_read_only", "transaction_read_only"]);

const FREE = new Set([
  "bytea_output",
  "check_function_bodies",
  "client_min_messages",
  "cursor_tuple_fraction",
  "datestyle",
  "deadlock_timeout",
  "default_statistics_target",
  "default_text_search_config",
  "default_transaction_deferrable",
  "default_transaction_isolation",
  "constraint_exclusion",
  "cpu_index_tuple_cost",
  "cpu_operator_cost",
  "cpu_tuple_cost",
  "debug_parallel_query",
  "default_toast_compression",
  "extra_float_digits",
  "force_parallel_mode",
  "from_collapse_limit",
  "geqo",
  "geqo_effort",
  "geqo_generations",
  "geqo_pool_size",
  "geqo_seed",
  "geqo_selection_bias",
  "geqo_threshold",
  "gin_fuzzy_search_limit",
  "hash_mem_multiplier",
  "intervalstyle",
  "jit",
  "jit_above_cost",
  "jit_inline_above_cost",
  "jit_optimize_above_cost",
  "join_collapse_limit",
  "lc_messages",
  "lc_monetary",
  "lc_numeric",
  "lc_time",
  "maintenance_work_mem",
  "max_parallel_maintenance_workers",
  "max_parallel_workers",
  "max_parallel_workers_per_gather",
  "min_parallel_index_scan_size",
  "min_parallel_table_scan_size",
  "parallel_leader_participation",
  "parallel_setup_cost",
  "parallel_tuple_cost",
  "effective_cache_size",
  "effective_io_concurrency",
  "plan_cache_mode",
  "random_page_cost",
  "recursive_worktable_factor",
  "row_security",
  "seq_page_cost",
  "synchronous_commit",
  "synchronize_seqscans",
  "tcp_keepalives_count",
  "tcp_keepalives_idle",
  "tcp_keepalives_interval",
  "tcp_user_timeout",
  "client_connection_check_interval",
  "temp_buffers",
  "timezone",
  "timezone_abbreviations",
  "transaction_deferrable",
  "transaction_isolation",
  "work_mem",
  "xmlbinary",
  "xmloption",
  "icu_validation_level",
]);

/** Every planner switch is harmless: it changes how, not what. */
const FREE_PREFIXES = ["enable_"];

const CUSTODY = new Set(["custody.justification"]);
const MAX_JUSTIFICATION_LENGTH = 500;

/** Settings whose value is a secret or a command line of the server's: not to be shown either. */
const SECRET = new Set([
  "archive_cleanup_command",
  "archive_command",
  "krb_server_keyfile",
  "primary_conninfo",
  "recovery_end_command",
  "restore_command",
  "ssl_passphrase_command",
]);

/** Settings that may only be made stricter: what a session begins with is read from the server. */
export const BOUND_SETTINGS: readonly string[] = [...TIGHTEN_MS, "default_transaction_read_only"];

/** Name and value as pg_settings and ALTER DATABASE … SET have them. */
export function settingBounds(values: Iterable<readonly [string, string]>): SettingBounds {
  const bounds = new Map<string, number>();
  for (const [name, value] of values) {
    const bound = TIGHTEN_ON.has(name) ? Number(isOn(value)) : (durationMs(value) ?? 0);
    if (bound > 0) bounds.set(name, bound);
  }
  return bounds;
}

/** `value` undefined: RESET or SET … TO DEFAULT, back to what the session started with. */
export function judgeSetting(
  name: string,
  value: string | undefined,
  bounds: SettingBounds = new Map(),
): SettingJudgement {
  const key = canonical(name);
  if (key === APPLICATION_NAME) return { ok: true, name: key, kind: "renamed" };
  if (CUSTODY.has(key)) return judgeJustification(key, value);
  if (key === "all" && value === undefined) return { ok: true, name: key, kind: "free" };
  const pinned = PINNED.get(key);
  if (pinned !== undefined) {
    if (value !== undefined && pinned.includes(value.toLowerCase().replaceAll("'", "")))
      return { ok: true, name: key, kind: "noop" };
    return { ok: false, reason: `parameter "${key}" is fixed by the gateway` };
  }
  if (TIGHTEN_MS.has(key)) return judgeTimeout(key, value, bounds.get(key));
  if (TIGHTEN_ON.has(key))
    return judgeSwitch(key, value, bounds.get("default_transaction_read_only"));
  if (FREE.has(key) || FREE_PREFIXES.some((prefix) => key.startsWith(prefix)))
    return { ok: true, name: key, kind: "free" };
  return { ok: false, reason: `parameter "${key}" may not be changed through the gateway` };
}

/**
 * SHOW and current_setting(): everything that is not a secret of the server's. Names with a dot are made
 * up by whoever sets them, and applications keep keys there (ALTER DATABASE … SET app.secret).
 */
export function mayShow(name: string): boolean {
  return !SECRET.has(canonical(name)) && (!name.includes(".") || CUSTODY.has(canonical(name)));
}

/**
 * The `options` startup parameter, split as PostgreSQL does (white space, backslash quotes), where
 * only `-c name=value`, `-cname=value` and `--name=value` are understood.
 */
export function parseOptions(
  options: string,
):
  | { readonly ok: true; readonly settings: readonly (readonly [string, string])[] }
  | { readonly ok: false; readonly reason: string } {
  const settings: [string, string][] = [];
  const words = splitOptions(options);
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    let assignment: string;
    if (word === "-c") {
      index++;
      assignment = words[index] ?? "";
    } else if (word.startsWith("--")) assignment = word.slice(2);
    else if (word.startsWith("-c")) assignment = word.slice(2);
    else return { ok: false, reason: `startup option "${word}" is not allowed` };
    const equals = assignment.indexOf("=");
    if (equals <= 0) return { ok: false, reason: `startup option "${word}" has no value` };
    // PostgreSQL reads dashes in an option's name as underscores (ParseLongOption).
    settings.push([
      canonical(assignment.slice(0, equals).replaceAll("-", "_")),
      assignment.slice(equals + 1),
    ]);
  }
  return { ok: true, settings };
}

function canonical(name: string): string {
  return name.toLowerCase();
}

/** Policies compare it with patterns, and people read it. */
function judgeJustification(name: string, value = ""): SettingJudgement {
  if (value.length <= MAX_JUSTIFICATION_LENGTH && !/\p{Cc}/u.test(value))
    return { ok: true, name, kind: "custody" };
  const reason = `"${name}" is one line of at most ${MAX_JUSTIFICATION_LENGTH} characters`;
  return { ok: false, reason };
}

function judgeTimeout(
  name: string,
  value: string | undefined,
  bound: number | undefined,
): SettingJudgement {
  if (value === undefined || bound === undefined || bound === 0)
    return { ok: true, name, kind: "tighten" };
  const ms = durationMs(value);
  if (ms === undefined) return { ok: false, reason: `invalid value for parameter "${name}"` };
  if (ms === 0 || ms > bound)
    return { ok: false, reason: `parameter "${name}" may only be lowered, from ${bound} ms` };
  return { ok: true, name, kind: "tighten" };
}

function judgeSwitch(
  name: string,
  value: string | undefined,
  bound: number | undefined,
): SettingJudgement {
  if (value === undefined || isOn(value) || bound !== 1) return { ok: true, name, kind: "tighten" };
  return { ok: false, reason: `parameter "${name}" may not be switched off` };
}

function isOn(value: string): boolean {
  return ["on", "true", "yes", "1"].includes(value.toLowerCase());
}

const UNIT_MS = new Map([
  ["us", 0.001],
  ["ms", 1],
  ["", 1],
  ["s", 1000],
  ["min", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/** As PostgreSQL reads a time-out: a number, then a unit; milliseconds without one. */
function durationMs(value: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(value);
  const factor = UNIT_MS.get(match?.[2] ?? "?");
  if (match === null || factor === undefined) return undefined;
  return Number(match[1]) * factor;
}

/** pg_split_opts: white space separates, a backslash takes the next character as it is. */
function splitOptions(options: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let index = 0; index < options.length; index++) {
    const character = options.charAt(index);
    if (/[ \t\n\v\f\r]/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    if (character === "\\" && index + 1 < options.length) index++;
    word = (word ?? "") + options.charAt(index);
  }
  if (word !== undefined) words.push(word);
  return words;
}
