import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startControlSide } from "../../../conformance/support/control-side.ts";
import { leafChain } from "../delegation/leaf-chain.ts";
import { isRefused } from "../delegation/tree.ts";
import type { Principal } from "../identity/principal.ts";
import { createErasures } from "./erasures.ts";
import { loadRecordingKeys } from "./recording-keys.ts";

const SECRET_TEXT = "delete from orders where card = 'erase-me-4711'";

function principal(name: string): Principal {
  return {
    ...{ kind: "user", id: `corp/${name}@example.com`, name, subject: `corp/sub-${name}` },
    ...{ groups: [], verifiedAtMs: 0 },
  };
}

async function stage() {
  const side = await startControlSide();
  const keys = await loadRecordingKeys(side.directory, (count) => Buffer.alloc(count, count));
  const { journal, store, clock, registry } = side;
  const erasures = createErasures({
    ...{ dataDirectory: side.directory, journal, keys, store: store.erasures },
    nowMs: () => clock.nowMs(),
    liveSessions: (of) =>
      registry
        .under(undefined)
        .filter(({ id, chain }) =>
          "session" in of ? id === of.session : chain.hops[0].subject === of.subject,
        )
        .map(({ id }) => id),
  });
  const signIn = (name: string) => {
    const made = side.tree.signIn(principal(name), undefined, "handle");
    assert.ok(!isRefused(made) && made.handle !== undefined);
    return made;
  };
  const open = async (made: ReturnType<typeof signIn>) => {
    assert.ok(made.handle);
    const { sessionId } = await side.control.openSession(
      {
        ...{ protocol: "postgres", credential: made.handle, target: "orders", account: undefined },
        ...{ database: "shop", clientAddress: "192.0.2.77" },
      },
      { onEnd: () => undefined, onWarning: () => undefined },
    );
    await side.control.requestApproval(
      {
        ...{ requestId: `r-${sessionId.slice(2)}-1`, sessionId, target: "orders", account: "ro" },
        ...{ what: "delete on table public.orders", command: SECRET_TEXT },
        ...{ parameters: ["erase-me-too"], justification: "erase-me-why", binding: sessionId },
        requirements: [
          {
            ...{ policyId: "p", message: undefined, quorum: 1, approvers: [], ttlMs: 60_000 },
            justificationRequired: false,
          },
        ],
      },
      () => undefined,
    );
    return sessionId;
  };
  const files = (): string =>
    ["custody.db", "custody.db-wal"]
      .map((name) => {
        try {
          return readFileSync(join(side.directory, name), "latin1");
        } catch {
          return "";
        }
      })
      .join("");
  return { side, erasures, signIn, open, files };
}

test("a session's commands leave the store, and the log says so before", async () => {
  const { side, erasures, signIn, open, files } = await stage();
  await using _ = side;
  const ann = signIn("ann");
  const session = await open(ann);
  await assert.rejects(erasures.session(session, undefined), { code: "invalid" });
  await side.control.closeSession(session, "over", undefined);
  assert.ok(files().includes("erase-me-4711"));
  await erasures.session(session, leafChain(ann.chain));
  for (const trace of ["erase-me-4711", "erase-me-too", "erase-me-why"])
    assert.ok(!files().includes(trace), trace);
  const leaf = (await side.leaves()).find(({ event }) => event === "recording.erased");
  assert.equal(leaf?.session, session);
  assert.equal(JSON.stringify(await side.leaves()).includes("erase-me"), false);
});

test("a subject's rows go, all of them and no others; who is signed in is refused", async () => {
  const { side, erasures, signIn, open, files } = await stage();
  await using _ = side;
  const ann = signIn("ann");
  const bob = signIn("bob");
  for (const who of [ann, bob]) await side.control.closeSession(await open(who), "over", undefined);
  await assert.rejects(erasures.subject("corp/sub-ann", undefined), {
    code: "invalid",
    message: /signed in/,
  });
  side.lifecycle.revoke(ann.chain, ann.node.id, undefined);
  assert.equal(await erasures.subject("corp/sub-ann", undefined), 1);
  assert.ok(!files().includes("ann@example.com"));
  assert.ok(files().includes("bob@example.com"));
  const left = side.store.sessions.list({ under: undefined, state: undefined, limit: 10 });
  assert.deepEqual(
    left.map(({ chain }) => chain.hops[0].subject),
    ["corp/sub-bob"],
  );
  const leaf = (await side.leaves()).find(({ event }) => event === "recording.erased");
  assert.deepEqual(leaf?.detail, { subject: "corp/sub-ann" });
});
