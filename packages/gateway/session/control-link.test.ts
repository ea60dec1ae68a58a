// The two ends of the link, over a port of Node's own: what crosses arrives, and what a data process may not
// ask is refused.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type MessagePort as Port, MessageChannel as PortPair } from "node:worker_threads";
import type { LeafDraft } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import { type MessageChannel, type MessagePort, openChannel } from "../base/message-channel.ts";
import { Secret } from "../base/secret.ts";
import type { Control, HoldRequest, HoldState, SessionEvents } from "./control.ts";
import { type ControlMethods, type SessionMethods, serveControl } from "./control-link.ts";
import { createRemoteControl } from "./remote-control.ts";

const CHAIN = { hops: [{ delegationId: "d-1" }] } as never;

function carriedBy(port: Port): MessagePort {
  return {
    send(message, taken) {
      port.postMessage(message);
      setImmediate(taken, null);
    },
    onMessage: (listener) => void port.on("message", listener),
    onClose: (listener) => void port.on("close", listener),
    close: () => port.close(),
  };
}

/** A control side that remembers what it was asked, and one data process. */
function linked(overrides: Partial<Control> = {}) {
  const calls: string[] = [];
  const sessions: SessionEvents[] = [];
  const changes: ((state: HoldState) => void)[] = [];
  const faults: unknown[] = [];
  const leaves: LeafDraft[] = [];
  const control: Control = {
    async openSession(request, events) {
      assert.ok(request.credential instanceof Secret);
      calls.push(`open ${request.target} ${request.credential.reveal()}`);
      sessions.push(events);
      events.record?.({ event: "session.opened", session: "s-1" });
      const upstream = { kind: "password", user: "app", password: new Secret("upstream") } as const;
      return { sessionId: "s-1", chain: CHAIN, account: "ro", expiresAtMs: 5, upstream };
    },
    attachBackend: (sessionId, processId) => calls.push(`attach ${sessionId} ${processId}`),
    async closeSession(sessionId, reason) {
      calls.push(`close ${sessionId} ${reason}`);
    },
    async requestApproval({ requestId }, onChange) {
      calls.push(`hold ${requestId}`);
      changes.push(onChange);
      const current = { state: "waiting", approvals: 0, quorum: 1, forWhom: "x" } as const;
      return { holdId: "h-1", expiresAtMs: 9, current };
    },
    leaveHold: (holdId) => calls.push(`leave ${holdId}`),
    async spendApproval(holdId, binding) {
      calls.push(`spend ${holdId} ${binding}`);
      return true;
    },
    async beginSignIn(provider) {
      calls.push(`begin ${provider}`);
      const code = {
        kind: "code",
        id: "p-9",
        verificationUri: "https://x",
        userCode: "AB",
      } as const;
      return { ...code, expiresAtMs: 5 };
    },
    async finishSignIn(id) {
      calls.push(`finish ${id}`);
      return new Secret("credential");
    },
    endSignIn: (id) => calls.push(`end ${id}`),
    showParticipant: (sessionId, participant, view) =>
      calls.push(`show ${sessionId} ${participant} ${view.kind}`),
    noteDenial: ({ requestId }) => calls.push(`denied ${requestId}`),
    ...overrides,
  };
  const { port1, port2 } = new PortPair();
  const onFault = (fault: unknown) => faults.push(fault);
  const serving = serveControl({
    control,
    channel: () => host,
    endBackends: async (ids) => void calls.push(`end ${ids}`),
    onFault,
  });
  const host = openChannel<ControlMethods, SessionMethods>(carriedBy(port1), serving.handlers, {
    onFault,
  });
  const remote = createRemoteControl({ channel: () => data, record: (leaf) => leaves.push(leaf) });
  const data: MessageChannel<ControlMethods> = openChannel<SessionMethods, ControlMethods>(
    carriedBy(port2),
    remote.handlers,
    { onFault },
  );
  return { calls, changes, data, faults, host, leaves, remote, serving, sessions };
}

const REQUEST = {
  protocol: "postgres",
  credential: new Secret("handle"),
  target: "orders",
  account: undefined,
  database: "shop",
  clientAddress: "10.0.0.1",
} as const;
const HOLD: HoldRequest = {
  ...{ requestId: "r-1-1", sessionId: "s-1", target: "orders", account: "ro", what: "delete" },
  ...{ command: "delete from t", parameters: [null, "1"], justification: undefined },
  requirements: [],
  binding: "bound",
};

function listening() {
  const told: string[] = [];
  const events: SessionEvents = {
    onEnd: ({ code, message }) => told.push(`end ${code} ${message}`),
    onWarning: (message) => told.push(`warning ${message}`),
    onChain: () => told.push("chain"),
    onParticipant: (act) => told.push(`participant ${act.act} ${act.participant}`),
  };
  return { told, events };
}

test("a session's life crosses: its credentials, its leaves in order, what it is told", async () => {
  const { calls, data, leaves, remote, sessions } = linked();
  const { told, events } = listening();
  const opened = await remote.control.openSession(REQUEST, events);
  assert.deepEqual(leaves, [{ event: "session.opened", session: "s-1" }]);
  assert.ok(opened.upstream.kind === "password" && opened.upstream.password instanceof Secret);
  assert.equal(opened.upstream.password.reveal(), "upstream");
  remote.control.attachBackend("s-1", 42);
  sessions[0]?.onParticipant?.({ act: "type", participant: "p-1", bytes: Buffer.from("x") });
  remote.control.showParticipant("s-1", "p-1", { kind: "output", bytes: Buffer.from("y") });
  sessions[0]?.onWarning("soon");
  sessions[0]?.onChain?.(CHAIN);
  sessions[0]?.onEnd({ code: "revoked", message: "revoked", hint: undefined });
  await remote.control.closeSession("s-1", "done", { pieces: 1, digest: "ab" });
  assert.deepEqual(told, ["participant type p-1", "warning soon", "chain", "end revoked revoked"]);
  assert.deepEqual(calls, [
    "open orders handle",
    "attach s-1 42",
    "show s-1 p-1 output",
    "close s-1 done",
  ]);
  sessions[0]?.onWarning("nobody listens any more");
  await remote.control.closeSession("s-1", "again", undefined);
  assert.equal(calls.length, 4);
  data.close();
});

test("a sign-in at a door crosses, and ends with the process at the latest", async () => {
  const { calls, data, remote, serving } = linked();
  await assert.rejects(remote.control.finishSignIn("p-9"), GatewayError);
  const begun = await remote.control.beginSignIn("corp");
  assert.equal(begun.kind === "code" && begun.userCode, "AB");
  const credential = await remote.control.finishSignIn("p-9");
  assert.ok(credential instanceof Secret && credential.reveal() === "credential");
  remote.control.endSignIn("p-8");
  data.close();
  await serving.abandon();
  assert.deepEqual(calls, ["begin corp", "finish p-9", "end p-9"]);
});

test("a hold's changes reach who waits, one that comes with the answer too", async () => {
  const { calls, changes, data, remote } = linked();
  await remote.control.openSession(REQUEST, listening().events);
  const states: string[] = [];
  let listener: (state: HoldState) => void = () => undefined;
  const asking = remote.control.requestApproval(HOLD, (state) => listener(state));
  const deny = { state: "denied", by: "dba", reason: undefined } as const;
  while (changes.length === 0) await new Promise(setImmediate);
  changes[0]?.(deny);
  await asking;
  listener = ({ state }) => states.push(state);
  while (states.length === 0) await new Promise(setImmediate);
  remote.control.leaveHold("h-1", "s-1");
  assert.equal(await remote.control.spendApproval("h-1", "bound"), true);
  changes[0]?.(deny);
  await new Promise(setImmediate);
  assert.deepEqual(states, ["denied"]);
  assert.deepEqual(calls.slice(1), ["hold r-1-1", "leave h-1", "spend h-1 bound"]);
  data.close();
});

test("a data process may not act for a session or hold of another, nor send what has no form", async () => {
  const { calls, data } = linked();
  const ask = data.call as (name: string, argument: unknown) => Promise<unknown>;
  data.tell("attachBackend", { sessionId: "s-other", processId: 1 });
  data.tell("leaveHold", { holdId: "h-9", sessionId: "s-other" });
  const view = { kind: "end", why: "x" } as const;
  data.tell("showParticipant", { sessionId: "s-other", participant: "p-1", view });
  data.offer("noteDenial", { requestId: "r-9-1", sessionId: "s-other" } as never);
  await data.call("closeSession", { sessionId: "s-other", reason: "x", recording: undefined });
  await assert.rejects(data.call("requestApproval", { key: 1, request: HOLD }), GatewayError);
  await assert.rejects(data.call("spendApproval", { holdId: "h-9", binding: "b" }), GatewayError);
  for (const request of [
    undefined,
    {},
    { ...REQUEST, protocol: "smtp" },
    { ...REQUEST, target: 7 },
  ])
    await assert.rejects(ask("openSession", { key: 1, request }), { code: "internal" });
  assert.deepEqual(calls, []);
  data.close();
});

test("when the process is gone its sessions are closed, one that was being opened too", async () => {
  const opening = Promise.withResolvers<void>();
  const first = linked();
  await first.remote.control.openSession(REQUEST, listening().events);
  first.data.close();
  await first.serving.abandon();
  assert.deepEqual(first.calls.slice(1, 2), ["end s-1"]);
  assert.match(first.calls[2] ?? "", /^close s-1 .*gone/);

  const second = linked({
    async openSession() {
      await opening.promise;
      const upstream = { kind: "password", user: "app", password: new Secret("x") } as const;
      return { sessionId: "s-2", chain: CHAIN, account: "ro", expiresAtMs: 5, upstream };
    },
  });
  const asked = second.remote.control.openSession(REQUEST, listening().events);
  asked.catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 20));
  second.data.close();
  await second.serving.abandon();
  opening.resolve();
  await assert.rejects(asked, { code: "shutdown" });
  await new Promise(setImmediate);
  assert.match(second.calls.join(), /close s-2/);
});

test("a process that lost the control side ends all sessions and closes them by itself", async () => {
  const { data, host, remote } = linked();
  const { told, events } = listening();
  await remote.control.openSession(REQUEST, events);
  host.close();
  await data.closed;
  remote.endAll({ code: "shutdown", message: "stopping", hint: undefined });
  assert.deepEqual(told, ["end shutdown stopping"]);
  await remote.control.closeSession("s-1", "gone", undefined);
  await assert.rejects(remote.control.openSession(REQUEST, events), { code: "shutdown" });
});

test("a credential for one command crosses as what it is, for a session of the asker's own alone", async () => {
  const command = async (sessionId: string, line: string) => {
    const upstream = { user: "app", certificate: `${sessionId} ${line}` };
    return { kind: "ssh-certificate", ...upstream, privateKey: new Secret("key") } as const;
  };
  const { data, remote } = linked({ commandCredential: command });
  await remote.control.openSession(REQUEST, listening().events);
  const got = await remote.control.commandCredential?.("s-1", "'id'");
  assert.ok(got?.kind === "ssh-certificate" && got.privateKey instanceof Secret);
  assert.deepEqual([got.certificate, got.privateKey.reveal()], ["s-1 'id'", "key"]);
  await assert.rejects(async () => remote.control.commandCredential?.("s-other", "'id'"));
  data.close();
});
