// A client's application_name. What the target has under that name is the chain (session-settings.ts), in
// its log and in pg_stat_activity, so a client's own is kept beside it, in a setting that nothing reads:
// SET, RESET and SHOW of the one are sent as SET, RESET and SHOW of the other. So SET LOCAL, ROLLBACK,
// RESET ALL and DISCARD ALL mean for it what they mean for any setting, and the client is answered as if
// the name were its own. In set_config() and current_setting() of a query the constant is exchanged. The
// rewriting is a function of the statement that was judged, and of nothing else (I4); no value of a client is
// put anywhere but into one quoted string.
//
// PostgreSQL docs, "Runtime Config: application_name", "Customized Options", "Asynchronous Operations".

import {
  type ColumnDescription,
  decodeRowDescription,
  parameterStatus,
  rowDescription,
} from "@custody/wire/postgres/backend.ts";
import { constantText, flag, list, type Tree, text, Unsupported } from "./parse.ts";
import type { OwnName, RenamedStatement } from "./plan.ts";

export const APPLICATION_NAME = "application_name";

/** Where the target keeps the client's. */
export const CLIENT_NAME = "custody.application_name";

/** NAMEDATALEN - 1, as PostgreSQL cuts it. */
const MAX_BYTES = 63;

/** As PostgreSQL takes it: printable ASCII, and not too long. */
export function applicationName(given: string | undefined): string {
  return (given ?? "").replace(/[^\x20-\x7e]/g, "?").slice(0, MAX_BYTES);
}

/** `body`: a VariableSetStmt of application_name. Throws Unsupported. */
export function renamedSet(body: Tree): RenamedStatement {
  const isLocal = flag(body, "is_local");
  const verb = isLocal ? "SET LOCAL" : "SET";
  switch (text(body, "kind")) {
    case "VAR_SET_VALUE": {
      const [value, ...more] = list(body, "args").map(constantText);
      if (value === undefined || more.length > 0)
        throw new Unsupported(`SET ${APPLICATION_NAME} takes one constant`, "22023");
      const kept = applicationName(value);
      return {
        text: `${verb} ${CLIENT_NAME} = '${kept.replaceAll("'", "''")}'`,
        // What ends with the transaction is not worth a report that would have to be taken back.
        reports: isLocal ? undefined : { value: kept },
      };
    }
    case "VAR_SET_DEFAULT":
      return {
        text: `${verb} ${CLIENT_NAME} TO DEFAULT`,
        reports: isLocal ? undefined : "start",
      };
    case "VAR_RESET":
      return { text: `RESET ${CLIENT_NAME}`, reports: "start" };
    default:
      throw new Unsupported("this form of SET is not supported through the gateway");
  }
}

/**
 * A query with the name of the setting exchanged where set_config() and current_setting() name it. What it is
 * set to comes out of the query, and nothing reads it. Throws Unsupported.
 */
export function renamedInText(sql: string, names: readonly OwnName[]): string {
  const written = `'${APPLICATION_NAME}'`;
  let bytes = Buffer.from(sql);
  for (const { location, sets } of names.toSorted((one, other) => other.location - one.location)) {
    const end = location + written.length;
    const found = bytes.toString("latin1", location, end).toLowerCase();
    // Another quote is a part of the same constant; E'' and U&'' begin otherwise.
    if (found === written && bytes[end] !== 0x27)
      bytes = Buffer.concat([
        bytes.subarray(0, location),
        Buffer.from(`'${CLIENT_NAME}'`),
        bytes.subarray(end),
      ]);
    else if (sets)
      throw new Unsupported(`set_config() takes '${APPLICATION_NAME}' in plain quotes`, "0A000");
  }
  return bytes.toString();
}

export const RENAMED_SHOW: RenamedStatement = { text: `SHOW ${CLIENT_NAME}`, reports: undefined };

/**
 * Of a text with several statements only the whole could be replaced. Throws Unsupported; SHOW is left as
 * it is there, and shows the chain.
 */
export function requireAlone(statements: readonly { readonly renamed?: RenamedStatement }[]): void {
  if (statements.length < 2) return;
  const sets = statements.some(
    ({ renamed }) => renamed !== undefined && renamed.text !== RENAMED_SHOW.text,
  );
  if (sets)
    throw new Unsupported(
      `SET ${APPLICATION_NAME} must be sent on its own: the target is shown the chain by that name`,
      "0A000",
    );
}

/** The RowDescription of a renamed SHOW, with the name that was asked for. */
export function describedAsAsked(buffer: Buffer, start: number, end: number): Buffer {
  const columns: ColumnDescription[] = decodeRowDescription(buffer, start, end);
  return rowDescription(
    columns.map((column) =>
      column.name === CLIENT_NAME ? { ...column, name: APPLICATION_NAME } : column,
    ),
  );
}

/** What the client was last told its name is. */
export interface ToldName {
  readonly start: string;
  told: string;
}

/** undefined: the client knows. */
export function reportOf(name: ToldName, reports: RenamedStatement["reports"]): Buffer | undefined {
  if (reports === undefined) return undefined;
  const value = reports === "start" ? name.start : reports.value;
  if (value === name.told) return undefined;
  name.told = value;
  return parameterStatus(APPLICATION_NAME, value);
}
