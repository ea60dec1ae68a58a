// Statements about the session itself: transactions, settings, names, notifications.

import { APPLICATION_NAME, RENAMED_SHOW, renamedSet } from "./application-name.ts";
import { databaseResource } from "./effects.ts";
import { type Context, touchEverything } from "./lineage-context.ts";
import { constantText, list, type Tree, text, Unsupported, unwrap } from "./parse.ts";
import type { OutputColumn, RenamedStatement, StatementKind } from "./plan.ts";
import { judgeSetting, mayShow, type SettingBounds } from "./settings.ts";

interface SessionDraft {
  readonly kind: StatementKind;
  readonly columns: readonly OutputColumn[] | undefined;
  readonly renamed?: RenamedStatement;
}

type SessionHandler = (context: Context, bounds: SettingBounds, body: Tree) => SessionDraft;

const QUERY: StatementKind = { kind: "query" };
const COMPUTED: OutputColumn = { origin: undefined, class: undefined };

export const SESSION_STATEMENTS: ReadonlyMap<string, SessionHandler> = new Map<
  string,
  SessionHandler
>([
  ["TransactionStmt", transaction],
  ["VariableSetStmt", set],
  ["VariableShowStmt", show],
  ["DeallocateStmt", (context, _bounds, body) => named(context, "deallocate", text(body, "name"))],
  [
    "ClosePortalStmt",
    (context, _bounds, body) => named(context, "close", text(body, "portalname")),
  ],
  ["DiscardStmt", discard],
  ["ConstraintsSetStmt", (context) => changed(context, QUERY)],
  ["NotifyStmt", notification],
  ["ListenStmt", listen],
  ["UnlistenStmt", (context) => changed(context, QUERY)],
]);

/** Not a plain read: its intent is flushed before it is forwarded. */
function changed(context: Context, kind: StatementKind): SessionDraft {
  context.volatile = true;
  return { kind, columns: undefined };
}

function named(
  context: Context,
  kind: "deallocate" | "close",
  name: string | undefined,
): SessionDraft {
  return changed(context, { kind, name });
}

function transaction(context: Context, bounds: SettingBounds, body: Tree): SessionDraft {
  const kind = text(body, "kind") ?? "";
  judgeModes(bounds, "", list(body, "options"));
  const plain = (step: "begin" | "commit" | "rollback" | "savepoint" | "other"): SessionDraft => ({
    kind: { kind: "transaction", step },
    columns: undefined,
  });
  switch (kind) {
    case "TRANS_STMT_BEGIN":
    case "TRANS_STMT_START":
      return plain("begin");
    case "TRANS_STMT_COMMIT":
      // Deferred constraints and triggers run now.
      context.volatile = true;
      return plain("commit");
    case "TRANS_STMT_ROLLBACK":
      return plain("rollback");
    case "TRANS_STMT_SAVEPOINT":
      return plain("savepoint");
    case "TRANS_STMT_RELEASE":
    case "TRANS_STMT_ROLLBACK_TO":
      return plain("other");
    case "TRANS_STMT_PREPARE":
    case "TRANS_STMT_COMMIT_PREPARED":
    case "TRANS_STMT_ROLLBACK_PREPARED":
      // Prepared transactions outlive the session with their locks, and are anybody's to end.
      context.volatile = true;
      context.effects.add("lock", databaseResource(context.catalogue.place));
      return plain("other");
    default:
      throw new Unsupported("this transaction statement is not supported through the gateway");
  }
}

function set(context: Context, bounds: SettingBounds, body: Tree): SessionDraft {
  const kind = text(body, "kind") ?? "";
  const name = text(body, "name") ?? "";
  context.volatile = true;
  if (kind === "VAR_SET_MULTI") return setMultiple(bounds, name, body);
  if (kind === "VAR_RESET_ALL") return { kind: { kind: "set", name: "all" }, columns: undefined };
  // As PostgreSQL compares names of settings.
  if (name.toLowerCase() === APPLICATION_NAME)
    return {
      kind: { kind: "set", name: APPLICATION_NAME },
      columns: undefined,
      renamed: renamedSet(body),
    };
  let value: string | undefined;
  if (kind === "VAR_SET_VALUE") {
    const values = list(body, "args").map(constantText);
    if (values.includes(undefined))
      throw new Unsupported(`invalid value for parameter "${name}"`, "22023");
    value = values.join(", ");
  } else if (kind !== "VAR_SET_DEFAULT" && kind !== "VAR_RESET")
    throw new Unsupported("this form of SET is not supported through the gateway");
  const judged = judgeSetting(name, value, bounds);
  if (!judged.ok) throw new Unsupported(judged.reason);
  if (judged.kind === "custody")
    return { kind: { kind: "custody", name: judged.name, value }, columns: undefined };
  return { kind: { kind: "set", name: judged.name }, columns: undefined };
}

/** SET TRANSACTION …, SET SESSION CHARACTERISTICS AS TRANSACTION … */
function setMultiple(bounds: SettingBounds, name: string, body: Tree): SessionDraft {
  const prefix = name === "SESSION CHARACTERISTICS" ? "default_" : "";
  if (name !== "TRANSACTION" && name !== "TRANSACTION SNAPSHOT" && prefix === "")
    throw new Unsupported("this form of SET is not supported through the gateway");
  if (name !== "TRANSACTION SNAPSHOT") judgeModes(bounds, prefix, list(body, "args"));
  return { kind: { kind: "set", name: name.toLowerCase() }, columns: undefined };
}

/** ISOLATION LEVEL …, READ WRITE, DEFERRABLE: settings under another name. */
function judgeModes(bounds: SettingBounds, prefix: string, modes: readonly unknown[]): void {
  for (const node of modes) {
    const { body: option } = unwrap(node);
    const setting = `${prefix}${text(option, "defname") ?? ""}`;
    const judged = judgeSetting(setting, constantText(option.arg) ?? "", bounds);
    if (!judged.ok) throw new Unsupported(judged.reason);
  }
}

function show(_context: Context, _bounds: SettingBounds, body: Tree): SessionDraft {
  const name = text(body, "name") ?? "";
  if (!mayShow(name)) throw new Unsupported(`parameter "${name}" may not be shown`);
  if (name.toLowerCase() === APPLICATION_NAME)
    return { kind: QUERY, columns: [COMPUTED], renamed: RENAMED_SHOW };
  const columns = name.toLowerCase() === "all" ? [COMPUTED, COMPUTED, COMPUTED] : [COMPUTED];
  return { kind: QUERY, columns };
}

function discard(context: Context, _bounds: SettingBounds, body: Tree): SessionDraft {
  const what = (text(body, "target") ?? "").replace("DISCARD_", "").toLowerCase();
  return changed(context, { kind: "discard", what });
}

/** Payloads come from others, triggers say, and no mask could be put on what is in them. */
function listen(context: Context): SessionDraft {
  touchEverything(context);
  return notification(context);
}

/** What is sent to a channel, everybody who listens to it gets. */
function notification(context: Context): SessionDraft {
  context.effects.add("notify", databaseResource(context.catalogue.place));
  return changed(context, QUERY);
}
