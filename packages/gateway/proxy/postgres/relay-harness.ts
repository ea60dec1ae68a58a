// For tests of the relay alone: the listener before a real PostgreSQL, with a classifier and an engine
// that judge by marks in the text, so that each case can say what is denied or held and where. What the
// real ones say is tested beside them, and all together in conformance/.

import { createSecureContext } from "node:tls";
import { decodeErrorFields } from "@custody/wire/postgres/backend.ts";
import { createTestAuthority } from "../../../../conformance/support/certificates.ts";
import type { TestPostgres } from "../../../../conformance/support/postgres-server.ts";
import type { RawConnection } from "../../../../fuzz/postgres/raw-connection.ts";
import type { Access, Decision, Effect, Operation } from "../../access/operation.ts";
import type { Journal, LeafDraft } from "../../audit/journal.ts";
import { systemClock } from "../../base/clock.ts";
import { newId, systemRandom } from "../../base/ids.ts";
import { Secret } from "../../base/secret.ts";
import { POSTGRES_SIGN_IN } from "../../config/config.ts";
import type { Chain } from "../../delegation/chain.ts";
import type { RecordingMode } from "../../policy/annotations.ts";
import type { Control, HoldRequest, HoldState, SessionEvents } from "../../session/control.ts";
import type { PostgresTarget } from "../../target/target.ts";
import { listenPostgres, type PostgresListener, type PostgresListenerDeps } from "./listener.ts";
import type { Classifier, QueryPlan, StatementKind, StatementPlan } from "./plan.ts";

export interface RelayHarness extends AsyncDisposable {
  readonly listener: PostgresListener;
  readonly ca: string;
  /** What was recorded, with its level. */
  readonly recorded: string[];
  readonly leaves: LeafDraft[];
  /** Requests that were held, with the way to settle each. */
  readonly holds: { request: HoldRequest; settle: (state: HoldState) => void }[];
  /** Ends every session as a revocation does. */
  revoke(): void;
}

const NO_CLASSES: ReadonlySet<string> = new Set();
const WRITES: Effect = {
  action: "sql:insert",
  resource: {
    type: "SQL::Table",
    id: "orders/shop/public/t",
    path: "shop/public/t",
    label: "table public.t",
    parent: undefined,
    implied: false,
  },
};

/** Instead of the ones that judge by marks. */
export type HarnessParts = Partial<
  Pick<
    PostgresListenerDeps,
    "classifierFor" | "access" | "control" | "journal" | "openRecorder" | "signIn"
  >
> &
  Partial<Pick<PostgresTarget, "classify" | "detect">>;

/** For clients of pg and raw connections alike. */
export function throughRelay({ ca, listener }: Pick<RelayHarness, "ca" | "listener">) {
  return {
    host: "localhost",
    port: listener.port,
    user: "ro~orders",
    password: "token",
    database: "shop",
    ssl: { ca, servername: "localhost" },
  };
}

export async function startRelay(
  postgres: TestPostgres,
  parts: HarnessParts = {},
): Promise<RelayHarness> {
  const authority = createTestAuthority();
  const context = createSecureContext(authority.issue(["localhost", "127.0.0.1"]));
  const leaves: LeafDraft[] = [];
  const recorded: string[] = [];
  const holds: RelayHarness["holds"] = [];
  const sessions = new Map<string, SessionEvents>();
  const { classify = [], detect, ...deps } = parts;
  const target = { ...targetOf(postgres), classify, ...(detect === undefined ? {} : { detect }) };
  const listener = await listenPostgres({
    host: "127.0.0.1",
    port: 0,
    secureContext: () => context,
    signIn: () => ({ ways: new Set(POSTGRES_SIGN_IN), oauth: { discoveryUrl: "", scope: "" } }),
    targets: () => new Map([["orders", target]]),
    control: control(postgres, sessions, holds),
    access: markedAccess(),
    journal: memoryJournal(leaves),
    clock: systemClock,
    random: systemRandom,
    openRecorder: () => ({
      command: (_request, text, _parameters, level) => {
        recorded.push(`command ${level ?? "full"} ${text}`);
      },
      response: (_request, _bytes, level) => {
        recorded.push(`response ${level ?? "full"}`);
      },
      event: () => undefined,
      typed: () => undefined,
      data: (_request, _channel, stream, bytes, level) => {
        recorded.push(`${stream} ${level ?? "full"} ${bytes}`);
      },
      endData: () => undefined,
      begin: () => undefined,
      finish: () => undefined,
      onBehind: () => undefined,
      room: () => true,
      delivery: () => true,
      end: () => ({ pieces: 0, digest: "" }),
    }),
    classifierFor: async () => ({
      classifier: markedClassifier(),
      masks: {
        needed: false,
        check: () => ({
          maskedClasses: [],
          nulled: [],
          partial: [],
          columns: [],
          replace: undefined,
        }),
      },
    }),
    targetCa: async () => postgres.ca,
    ...deps,
    limits: {
      maxConnections: 50,
      startupTimeoutMs: 5_000,
      targetConnectTimeoutMs: 5_000,
      maxFrameBytes: 64 << 20,
      maxOutstanding: 10_000,
      maxNames: 1_000,
      matchesPerHour: 3,
      maxBacklogBytes: 1 << 20,
      holdWaitMs: 5_000,
      holdWaitInTransactionMs: 2_000,
      sessionIdleMs: 60_000,
      shutdownGraceMs: 0,
      holdReminderMs: 1_000,
    },
    log: () => undefined,
  });
  return {
    listener,
    ca: authority.cert,
    leaves,
    recorded,
    holds,
    revoke() {
      for (const events of sessions.values())
        events.onEnd({ code: "revoked", message: "the delegation was revoked", hint: undefined });
    },
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
}

function targetOf(postgres: TestPostgres): PostgresTarget {
  const login = {
    user: postgres.superuser,
    password: { from: "env", name: "UNUSED" },
    database: "postgres",
  } as const;
  return {
    protocol: "postgres",
    name: "orders",
    host: "localhost",
    port: postgres.port,
    tls: { mode: "verify-full", caFile: postgres.caFile },
    databases: undefined,
    searchPath: ["public"],
    accounts: [{ name: "ro", credential: { kind: "fixed-role", ...login } }],
    catalogue: login,
    classify: [],
    tags: {},
  };
}

const CHAIN: Chain = {
  hops: [
    {
      delegationId: "d-root",
      kind: "user",
      id: "corp/ann@example.com",
      name: "ann@example.com",
      subject: "corp/1",
      groups: [],
      provenance: "attested",
      grant: undefined,
      expiresAtMs: Number.POSITIVE_INFINITY,
    },
  ],
};

function control(
  postgres: TestPostgres,
  sessions: Map<string, SessionEvents>,
  holds: RelayHarness["holds"],
): Control {
  return {
    async openSession(request, events) {
      const sessionId = newId("s", 12);
      sessions.set(sessionId, events);
      return {
        sessionId,
        chain: CHAIN,
        account: request.account ?? "ro",
        expiresAtMs: Number.POSITIVE_INFINITY,
        upstream: {
          kind: "password",
          user: postgres.superuser,
          password: new Secret(postgres.password),
        },
      };
    },
    attachBackend: () => undefined,
    showParticipant: () => undefined,
    beginSignIn: async () => ({ kind: "choose", names: [] }),
    finishSignIn: async () => new Secret(""),
    endSignIn: () => undefined,
    async closeSession(sessionId) {
      sessions.delete(sessionId);
    },
    async requestApproval(request, onChange) {
      holds.push({ request, settle: onChange });
      const current = { state: "waiting", approvals: 0, quorum: 1, forWhom: "corp/dba" } as const;
      return { holdId: `h-${holds.length}`, expiresAtMs: Date.now() + 60_000, current };
    },
    leaveHold: () => undefined,
    spendApproval: async () => true,
    noteDenial: () => undefined,
  };
}

/** What came back, a word a message: `E:42501`, `Z:T`, `C:INSERT 0 1`, else the type. */
export async function converse(connection: RawConnection, sent: Buffer[], readies: number) {
  const { socket, cursor } = connection;
  const seen: string[] = [];
  const chunks = socket.iterator({ destroyOnReturn: false });
  socket.write(Buffer.concat(sent));
  let left = readies;
  while (left > 0) {
    while (cursor.next()) {
      const { type, buffer, start, end } = cursor;
      const letter = String.fromCharCode(type);
      if (letter === "E" || letter === "N")
        seen.push(`${letter}:${decodeErrorFields(buffer, start, end).get("C")}`);
      else if (letter === "Z") {
        seen.push(`Z:${String.fromCharCode(buffer[start + 5] ?? 0)}`);
        left -= 1;
      } else if (letter === "C") seen.push(`C:${buffer.toString("utf8", start + 5, end - 1)}`);
      else if (letter !== "S") seen.push(letter);
    }
    if (left === 0) break;
    const { value, done } = await chunks.next();
    if (done === true) throw new Error(`closed after ${seen.join(" ")}`);
    cursor.push(value);
  }
  await chunks.return?.();
  return seen;
}

/** `rows=3`, `bytes=100`, `ms=200` in a text are limits of its permit. */
function limitIn(text: string, name: string): number | undefined {
  const found = new RegExp(`${name}=(\\d+)`).exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** `strict`, `ahead=200`: how far the client may be ahead of the recording. */
function modeIn(text: string): RecordingMode | undefined {
  if (text.includes("strict")) return { mode: "strict" };
  const aheadMs = limitIn(text, "ahead");
  return aheadMs === undefined ? undefined : { mode: "bounded", aheadMs, aheadBytes: 1 << 20 };
}

/** A text with `deny` in it is denied, one with `hold` waits for approval, of `quiet` little is kept. */
function markedAccess(): Access {
  const permit = (operation: Operation): Decision => ({
    verdict: "permit",
    permit: {
      operation,
      obligations: {
        unmask: NO_CLASSES,
        maxRows: limitIn(operation.summary, "rows"),
        maxBytes: limitIn(operation.summary, "bytes"),
        timeoutMs: limitIn(operation.summary, "ms"),
        record: operation.summary.includes("quiet") ? "commands" : undefined,
        recordMode: modeIn(operation.summary),
      },
      policyIds: ["test"],
      policyVersion: "1",
    },
  });
  return {
    authorize(_subject, operation) {
      if (operation.summary.includes("deny"))
        return {
          verdict: "deny",
          denial: {
            kind: "forbidden",
            what: "a marked statement",
            policyId: "no-marks",
            message: "marked statements are forbidden",
            hop: 0,
            hopLabel: "depth 0, user ann@example.com",
          },
          policyVersion: "1",
        };
      if (!operation.summary.includes("hold")) return permit(operation);
      const requirement = {
        policyId: "marks-wait",
        message: undefined,
        quorum: 1,
        approvers: ["corp/dba"],
        ttlMs: 60_000,
        justificationRequired: false,
      };
      return {
        verdict: "hold",
        requirements: [requirement],
        what: "a marked statement",
        policyVersion: "1",
      };
    },
    authorizeApproved: (_subject, operation) => permit(operation),
    policyVersion: "1",
    forget: () => undefined,
  };
}

function markedClassifier(): Classifier {
  return {
    epoch: 1,
    refresh: async () => undefined,
    classify(text): QueryPlan {
      const operation: Operation = {
        protocol: "postgres",
        effects: text.includes("insert") ? [WRITES] : [],
        touches: [],
        summary: text,
      };
      const statements = text
        .split(";")
        .filter((part) => part.trim() !== "")
        .map(
          (part): StatementPlan => ({
            kind: kindOf(part.trim().toLowerCase()),
            operation,
            columns: undefined,
            plainRead: true,
          }),
        );
      return { text, epoch: 1, statements, operation, plainRead: true, refers: [] };
    },
  };
}

function kindOf(text: string): StatementKind {
  if (text.startsWith("copy"))
    return { kind: "copy", direction: text.includes("from stdin") ? "in" : "out" };
  return { kind: "query" };
}

function memoryJournal(leaves: LeafDraft[]): Journal {
  return {
    append: (leaf) => leaves.push(leaf),
    appendContent: () => undefined,
    beforeFlush: () => undefined,
    barrier: (_durability, done) => {
      setImmediate(done);
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}
