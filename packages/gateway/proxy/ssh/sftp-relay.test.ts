// SFTP between a client and a host that are both the test; what decides is a stand-in.

import assert from "node:assert/strict";
import test from "node:test";
import {
  decodeSftpRequest,
  decodeSftpResponse,
  encodeSftpRequest,
  encodeSftpResponse,
} from "@custody/wire/ssh/sftp.ts";
import {
  OPEN_FLAGS,
  type SftpOperation,
  type SftpRequest,
  STATUS,
} from "@custody/wire/ssh/sftp-messages.ts";
import type { Asked, Verdict } from "./judge.ts";
import type { SftpAnswer, SftpAsked } from "./sftp-book.ts";
import { SftpRelay } from "./sftp-relay.ts";

const PATH = Buffer.from("/srv/x");
const NOTHING = Buffer.alloc(0);
const MINE = { permissions: 0o100_644, owner: { uid: 7, gid: 7 }, size: 5n };

interface Staged {
  ask(id: number, request: SftpOperation): Promise<SftpAnswer>;
  readonly relay: SftpRelay;
  readonly outcomes: readonly string[];
  /** By the monotonic clock. */
  nowMs: number;
}

/** `isSilent`: what the host never answers. */
function staged(
  judge: (asked: Asked) => Promise<Verdict>,
  isSilent: (request: SftpAsked) => boolean = () => false,
): Staged {
  const outcomes: string[] = [];
  const waiting = new Map<number, (answer: SftpAnswer) => void>();
  const book = { endCommand: ({ outcome }: { outcome: string }) => void outcomes.push(outcome) };
  const stage = { outcomes, nowMs: 0 };
  const context = {
    site: { target: "web-1", account: "deploy" },
    judge: { book, judge },
    recorder: { typed: () => undefined, data: () => undefined, endData: () => undefined },
    clock: { monotonicMs: () => stage.nowMs },
    log: (message: string) => assert.fail(message),
  };
  const toTarget = (packet: Buffer) => {
    const request = decodeSftpRequest(packet);
    if (request.kind === "init" || isSilent(request)) return;
    setImmediate(() => relay.fromTarget(encodeSftpResponse(hostAnswer(request))));
  };
  const toClient = (stream: number, packet: Buffer) => {
    if (stream !== 0 || packet.length === 0) return;
    const answer = decodeSftpResponse(packet);
    if (answer.kind !== "version") waiting.get(answer.id)?.(answer);
  };
  const relay: SftpRelay = new SftpRelay(context as never, {
    toTarget: { push: (_: number, data: Buffer) => data.length > 0 && toTarget(data) } as never,
    toClient: { push: toClient } as never,
    ...{ channel: 0, level: undefined, fail: (message) => assert.fail(message) },
  });
  return Object.assign(stage, {
    relay,
    ask: (id: number, request: SftpOperation) =>
      new Promise<SftpAnswer>((resolve) => {
        waiting.set(id, resolve);
        relay.fromClient(encodeSftpRequest({ ...request, id } as SftpRequest));
      }),
  });
}

function hostAnswer(request: SftpAsked): SftpAnswer {
  const { id } = request;
  switch (request.kind) {
    case "realpath":
      return { kind: "name", id, names: [{ name: request.path, line: PATH, attributes: {} }] };
    case "open":
      return { kind: "handle", id, handle: Buffer.from("h") };
    case "fstat":
    case "lstat":
    case "stat":
      return { kind: "attrs", id, attributes: MINE };
    case "read":
      return { kind: "data", id, data: Buffer.from("hello") };
    default:
      return { kind: "status", id, code: STATUS.ok, message: NOTHING, language: NOTHING };
  }
}

function permits(timeoutMs?: number): (asked: Asked) => Promise<Verdict> {
  const permit = { obligations: { timeoutMs } } as never;
  const rest = { requestId: "r-1", level: undefined, masks: [], isApproved: false } as const;
  return async () => ({ verdict: "permit", permit, ...rest });
}

test("a hold ends with the channel that asked", async () => {
  const cancelled = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const stage = staged(({ onWait }) => {
    onWait?.(() => cancelled.resolve());
    asked.resolve();
    return cancelled.promise.then(() => ({
      ...{ verdict: "deny", requestId: "r-1", lines: ["cancelled"], exit: 125 },
    }));
  });
  stage.ask(1, { kind: "stat", path: PATH }).catch(() => undefined);
  await asked.promise;
  stage.relay.over();
  await cancelled.promise;
});

test("what takes longer than a permit lets it is answered, and has an outcome", async () => {
  const stage = staged(permits(5), ({ kind }) => kind === "stat");
  const answer = await stage.ask(1, { kind: "stat", path: PATH });
  assert.equal(answer.kind === "status" ? answer.code : 0, STATUS.permissionDenied);
  assert.deepEqual(stage.outcomes, ["timed-out"]);
});

test("a file is used for as long as its permit says, and closed after that", async () => {
  const stage = staged(permits(1000));
  const open = { kind: "open", path: PATH, flags: OPEN_FLAGS.read, attributes: {} } as const;
  const opened = await stage.ask(1, open);
  assert.ok(opened.kind === "handle");
  const read = { kind: "read", handle: opened.handle, offset: 0n, length: 5 } as const;
  assert.equal((await stage.ask(2, read)).kind, "data");
  stage.nowMs = 1001;
  const late = await stage.ask(3, read);
  assert.equal(late.kind === "status" ? late.code : 0, STATUS.permissionDenied);
  const closed = await stage.ask(4, { kind: "close", handle: opened.handle });
  assert.equal(closed.kind === "status" ? closed.code : -1, STATUS.ok);
  assert.deepEqual(stage.outcomes, ["timed-out"]);
});

test("requests that look are sent on without waiting for each other's answers", async () => {
  const silent = Promise.withResolvers<void>();
  let stats = 0;
  const stage = staged(permits(), ({ kind }) => {
    if (kind !== "stat") return false;
    stats += 1;
    if (stats === 2) silent.resolve();
    return true;
  });
  for (const id of [1, 2]) stage.ask(id, { kind: "stat", path: PATH }).catch(() => undefined);
  await silent.promise;
  stage.relay.over();
  assert.deepEqual(stage.outcomes, ["lost", "lost"]);
});
