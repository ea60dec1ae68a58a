import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { startControlSide } from "../../../conformance/support/control-side.ts";
import { parseGrant } from "../delegation/grant.ts";
import { isRefused } from "../delegation/tree.ts";
import type { Principal } from "../identity/principal.ts";
import { openStore } from "./store.ts";

const ENGINEER: Principal = {
  kind: "user",
  id: "corp/engineer",
  name: "engineer",
  subject: "corp/4711",
  groups: [],
  verifiedAtMs: 0,
};

const GRANT = parseGrant([
  { type: "custody", targets: ["*"], accounts: ["*"], actions: ["sql:*"], resources: ["*"] },
]);

async function temporary() {
  const directory = await mkdtemp(join(tmpdir(), "custody-store-"));
  return {
    directory,
    file: join(directory, "custody.db"),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

describe("a locked store", () => {
  test("is a clear error for who asks, changes nothing, and works again when it is free", async () => {
    await using side = await startControlSide();
    const made = side.tree.signIn(ENGINEER, undefined, "handle");
    assert.ok(!isRefused(made) && made.handle !== undefined);
    const { chain, handle } = made;
    const id = made.node.id;
    const other = new DatabaseSync(join(side.directory, "custody.db"));
    other.exec("BEGIN EXCLUSIVE");
    const locked = { code: "dependency_unavailable", message: /locked by another process/ };
    assert.throws(() => side.tree.signIn(ENGINEER, undefined, "jwt"), locked);
    assert.throws(() => side.lifecycle.revoke(chain, id, undefined), locked);
    assert.throws(() => side.lifecycle.renew(chain, id, undefined), locked);
    await assert.rejects(
      side.control.openSession(
        {
          protocol: "postgres",
          credential: handle,
          target: "orders",
          account: undefined,
          database: "shop",
          clientAddress: "127.0.0.1",
        },
        { onEnd: () => undefined, onWarning: () => undefined },
      ),
      locked,
    );
    assert.equal(side.registry.under(undefined).length, 0);
    other.exec("ROLLBACK");
    other.close();
    assert.equal(side.tree.chain(id).hops.length, 1);
    assert.equal(side.tree.subtree(undefined, 10).length, 1);
    assert.equal(side.lifecycle.revoke(chain, id, undefined).revoked, 1);
  });

  test("at the start is an error too", async () => {
    await using place = await temporary();
    openStore(place.directory)[Symbol.dispose]();
    const other = new DatabaseSync(place.file);
    other.exec("BEGIN EXCLUSIVE");
    assert.throws(() => openStore(place.directory), { code: "dependency_unavailable" });
    other.close();
    openStore(place.directory)[Symbol.dispose]();
  });
});

describe("the file", () => {
  test("is read by nobody but its owner", async () => {
    await using place = await temporary();
    const deep = join(place.directory, "data");
    await mkdir(deep);
    await writeFile(join(deep, "custody.db"), "");
    await chmod(join(deep, "custody.db"), 0o644);
    using store = openStore(deep);
    store.check();
    for (const suffix of ["", "-wal", "-shm"])
      assert.equal((await stat(join(deep, `custody.db${suffix}`))).mode & 0o077, 0);
  });

  test("that is no database, or of a newer gateway, is refused and left alone", async () => {
    await using place = await temporary();
    await writeFile(place.file, "this is not a database, but it is long enough to look like one");
    assert.throws(() => openStore(place.directory), { code: "dependency_unavailable" });
    await rm(place.file);
    const newer = new DatabaseSync(place.file);
    newer.exec("PRAGMA user_version = 99");
    newer.close();
    assert.throws(() => openStore(place.directory), {
      code: "configuration",
      message: /newer version/,
    });
  });

  test("keeps what was written over a new start", async () => {
    await using side = await startControlSide();
    const made = side.tree.signIn(ENGINEER, undefined, "jwt");
    assert.ok(!isRefused(made));
    using again = openStore(side.directory);
    assert.deepEqual(again.delegations.find(made.node.id), made.node);
  });
});

test("a transaction that throws half-way leaves nothing", async () => {
  await using side = await startControlSide();
  const made = side.tree.signIn(ENGINEER, undefined, "jwt");
  assert.ok(!isRefused(made));
  const { node } = made;
  assert.throws(() =>
    side.store.delegations.atomically(() => {
      side.store.delegations.revokeSubtree(node.id, { atMs: 1, by: "x", reason: undefined });
      throw new Error("half-way");
    }),
  );
  assert.equal(side.tree.status(node), "active");
  assert.equal(side.tree.find(node.id)?.revocation, undefined);
});

test("forgetting takes whole trees that ended, with what hangs on them, and nothing that lives", async () => {
  await using side = await startControlSide();
  const grow = () => {
    const root = side.tree.signIn(ENGINEER, undefined, "jwt");
    assert.ok(!isRefused(root));
    const child = side.tree.delegate(root.node.id, {
      actor: { kind: "agent", name: "ci" },
      grant: GRANT,
      ttlMs: undefined,
      shape: "handle",
    });
    assert.ok(!isRefused(child) && child.handle !== undefined);
    return { root: root.node.id, child: child.node.id, handle: child.handle };
  };
  const old = grow();
  const { sessionId } = await side.control.openSession(
    {
      protocol: "postgres",
      credential: old.handle,
      target: "orders",
      account: undefined,
      database: "shop",
      clientAddress: "127.0.0.1",
    },
    { onEnd: () => undefined, onWarning: () => undefined },
  );
  const requirement = {
    policyId: "p",
    message: undefined,
    quorum: 1,
    approvers: [],
    ttlMs: 1000,
    justificationRequired: false,
  };
  const { holdId } = await side.control.requestApproval(
    {
      requestId: "r-1",
      sessionId,
      target: "orders",
      account: "ro",
      what: "delete",
      command: "DELETE FROM orders",
      parameters: [],
      requirements: [requirement],
      justification: undefined,
      binding: "b",
    },
    () => undefined,
  );
  await side.control.closeSession(sessionId, "done", undefined);
  side.clock.advance(24 * 3_600_000);
  const young = grow();
  assert.equal(side.store.forget(side.clock.nowMs() - 3_600_000), 2);
  for (const id of [old.root, old.child]) assert.equal(side.tree.find(id), undefined);
  assert.equal(side.store.approvals.find(holdId), undefined);
  assert.equal(side.store.sessions.find(sessionId), undefined);
  assert.equal(side.tree.chain(young.child).hops.length, 2);
});
