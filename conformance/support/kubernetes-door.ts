// A door with a light API server behind it, for tests: the answers are the test's, the listener, sessions
// and decisions are real. The control side is a double at the data side's edge.

import type { RequestListener } from "node:http";
import { createServer as createHttpsServer, type RequestOptions } from "node:https";
import type { AddressInfo } from "node:net";
import {
  createTestAccess,
  NOON_MS,
  type TestAccess,
} from "@custody/gateway/access/access.fixture.ts";
import type { Journal, LeafDraft } from "@custody/gateway/audit/journal.ts";
import { type Clock, systemClock } from "@custody/gateway/base/clock.ts";
import { Secret } from "@custody/gateway/base/secret.ts";
import { loadGrammars } from "@custody/gateway/command/load-grammars.ts";
import type { Hop } from "@custody/gateway/delegation/chain.ts";
import type { PolicyFile } from "@custody/gateway/policy/load.ts";
import { listenKubernetes } from "@custody/gateway/proxy/kubernetes/listener.ts";
import type { RecordedSession, Recorder } from "@custody/gateway/recording/recorder.ts";
import type {
  Control,
  HoldRequest,
  OpenSession,
  SessionEvents,
} from "@custody/gateway/session/control.ts";
import type { KubernetesTarget } from "@custody/gateway/target/target.ts";
import { Agent, fetch } from "undici";
import { createTestAuthority } from "./certificates.ts";

export interface TestDoor extends AsyncDisposable {
  readonly origin: string;
  /** PEM of the door's authority. */
  readonly ca: string;
  readonly test: TestAccess;
  readonly leaves: LeafDraft[];
  readonly opened: OpenSession[];
  readonly events: SessionEvents[];
  readonly held: HoldRequest[];
  /** Requests as the API server got them, `GET /api/v1/pods`. */
  readonly seen: string[];
  ask(path: string, options?: AskOptions): ReturnType<typeof fetch>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
  readonly tls?: Pick<RequestOptions, "cert" | "key">;
}

export interface DoorOptions {
  readonly answer: RequestListener;
  readonly policies: readonly PolicyFile[];
  readonly hops: readonly [Hop, ...Hop[]];
  readonly target?: Partial<KubernetesTarget>;
  /** Throws for who is not let in. */
  readonly letIn?: (asked: OpenSession) => void;
  /** Instead of ones that keep nothing. */
  readonly journal?: Journal;
  readonly openRecorder?: (session: RecordedSession) => Recorder;
  readonly limits?: { readonly sessionIdleMs: number; readonly startupTimeoutMs: number };
  /** Of the listener, instead of the system's. */
  readonly clock?: Clock;
  /** What the first session shows the API server, and the second, instead of one for all that is never over. */
  readonly tokens?: readonly { readonly token: string; readonly untilMs?: number }[];
}

export async function openTestDoor(options: DoorOptions): Promise<TestDoor> {
  await using parts = new AsyncDisposableStack();
  const authority = createTestAuthority();
  const seen: string[] = [];
  const server = createHttpsServer(authority.issue(["127.0.0.1"]), (request, answer) => {
    seen.push(`${request.method} ${request.url}`);
    void options.answer(request, answer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  parts.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const test = createTestAccess(options.policies);
  test.clock.now = NOON_MS;
  const target: KubernetesTarget = {
    ...{ protocol: "kubernetes", name: "prod", caFile: undefined, fields: [], tags: {} },
    preview: "none",
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    accounts: [
      {
        name: "edit",
        credential: { kind: "token", token: { from: "env", name: "X" } },
        impersonate: undefined,
      },
    ],
    ...options.target,
  };
  const books = {
    leaves: [] as LeafDraft[],
    opened: [] as OpenSession[],
    events: [] as SessionEvents[],
    held: [] as HoldRequest[],
  };
  const own = authority.issue(["127.0.0.1"]);
  const listener = parts.use(
    await listenKubernetes({
      ...{ host: "127.0.0.1", port: 0, access: test.access },
      clock: options.clock ?? systemClock,
      ...outside(books.leaves),
      ...options.limits,
      ...(options.journal === undefined ? {} : { journal: options.journal }),
      ...(options.openRecorder === undefined ? {} : { openRecorder: options.openRecorder }),
      control: controlOf(options, books),
      certificate: () => own,
      targets: () => new Map([["prod", target]]),
      targetCa: async () => authority.cert,
      grammars: loadGrammars(),
    }),
  );
  const origin = `https://127.0.0.1:${listener.port}`;
  const all = parts.move();
  return {
    ...{ origin, ca: authority.cert, test, seen, ...books },
    async ask(path, { tls, ...given } = {}) {
      const agent = new Agent({ connect: { ca: authority.cert, ...tls }, allowH2: false });
      all.defer(() => agent.destroy());
      const headers = { ...(tls === undefined ? { authorization: "Bearer good" } : {}) };
      return fetch(`${origin}/prod${path}`, {
        ...given,
        headers: { ...headers, ...given.headers },
        dispatcher: agent,
      });
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

type Books = Pick<TestDoor, "leaves" | "opened" | "events" | "held">;

function controlOf({ hops, letIn, tokens }: DoorOptions, { opened, events, held }: Books): Control {
  return {
    async openSession(asked, told) {
      letIn?.(asked);
      opened.push(asked);
      events.push(told);
      const { token, ...until } = tokens?.[opened.length - 1] ?? { token: "of-the-cluster" };
      return {
        ...{ sessionId: `s-door${opened.length}aaaaaaa`.slice(0, 14), chain: { hops } },
        ...{ account: "edit", expiresAtMs: NOON_MS + 3_600_000 },
        upstream: {
          ...{ kind: "kubernetes", user: "edit", token: new Secret(token), ...until },
          ...{ certificate: undefined, impersonate: undefined },
        },
      };
    },
    attachBackend: () => undefined,
    closeSession: async () => undefined,
    async requestApproval(asked) {
      held.push(asked);
      return {
        ...{ holdId: "h-1", expiresAtMs: Date.now() + 60_000 },
        current: { state: "waiting", approvals: 0, quorum: 1, forWhom: "" },
      };
    },
    leaveHold: () => undefined,
    spendApproval: async () => true,
    showParticipant: () => undefined,
    beginSignIn: async () => ({ kind: "choose", names: [] }),
    finishSignIn: async () => new Secret(""),
    endSignIn: () => undefined,
    noteDenial: () => undefined,
  };
}

function outside(leaves: LeafDraft[]) {
  const nothing = () => undefined;
  return {
    log: nothing,
    journal: {
      append: (leaf: LeafDraft) => leaves.push(leaf),
      appendContent: nothing,
      beforeFlush: nothing,
      barrier: (_durability: string, done: () => void) => void setImmediate(done),
      [Symbol.asyncDispose]: async () => undefined,
    },
    openRecorder: () => ({
      ...{ command: nothing, response: nothing, event: nothing, typed: nothing, data: nothing },
      ...{ endData: nothing, begin: nothing, finish: nothing, onBehind: nothing },
      ...{ room: () => true, delivery: () => true },
      end: () => ({ pieces: 0, digest: "" }),
    }),
    maskOf: () => "redact" as const,
    ...{ sessionIdleMs: 60_000, targetConnectTimeoutMs: 30_000, maxSessions: 50 },
    ...{ maxConnections: 100, startupTimeoutMs: 30_000, maxBodyBytes: 100_000 },
    limits: { holdWaitMs: 100, holdReminderMs: 1000, maxObjectBytes: 100_000 },
  };
}
