import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { describe, test } from "node:test";
import { scramClient } from "@custody/wire/postgres/scram.ts";
import { scramServer, scramServerFinal } from "@custody/wire/postgres/scram-server.ts";
import { systemRandom } from "../base/ids.ts";
import {
  delegationOfHandleName,
  HANDLE_ITERATIONS,
  type HandleProof,
  handleSalt,
  verifyProof,
} from "./handle-proof.ts";
import { newHandle } from "./handles.ts";

const ID = "d-7f3kabcd";

/** What a real client proves for `password`, and how it takes our answer. */
async function exchange(password: string, delegationId = ID) {
  const server = scramServer({
    nonce: systemRandom(24).toString("base64"),
    salt: handleSalt(delegationId),
    iterations: HANDLE_ITERATIONS,
    certificateHash: undefined,
  });
  const { mechanisms } = server;
  const nonce = systemRandom(18).toString("base64");
  const client = scramClient({ password, nonce, mechanisms });
  const said = server.first(client.mechanism, client.initialResponse);
  const shown: HandleProof = { delegationId, ...server.final(await client.respond(said)) };
  return { client, shown };
}

describe("a handle that is proved", () => {
  test("is known by its keys, and the client knows the gateway by them too", async () => {
    const { handle, proofKeys } = newHandle(ID, systemRandom);
    const { client, shown } = await exchange(handle.reveal());
    const signature = verifyProof(shown, proofKeys);
    assert.ok(signature !== undefined);
    client.verify(scramServerFinal(signature));
    assert.ok(client.verified);
  });

  test("is refused for another secret, another delegation's keys, or none", async () => {
    const made = newHandle(ID, systemRandom);
    const other = newHandle(ID, systemRandom);
    const { shown } = await exchange(made.handle.reveal());
    assert.equal(verifyProof(shown, other.proofKeys), undefined);
    assert.equal(verifyProof(shown, undefined), undefined);
    assert.equal(verifyProof(shown, new Uint8Array(64)), undefined);
    assert.equal(verifyProof(shown, made.proofKeys.subarray(0, 63)), undefined);
    assert.equal(verifyProof(shown, made.verifier), undefined);
    // Keys that were moved to another row: the salt is of that row's id.
    const moved = await exchange(made.handle.reveal(), "d-another0");
    assert.equal(verifyProof(moved.shown, made.proofKeys), undefined);
  });

  test("is refused when any bit of it changed, and when it is shown in another exchange", async () => {
    const { handle, proofKeys } = newHandle(ID, systemRandom);
    const { shown } = await exchange(handle.reveal());
    for (const field of ["authMessage", "proof"] as const)
      for (let at = 0; at < shown[field].length; at++) {
        const changed = Buffer.from(shown[field]);
        changed[at] = (changed[at] ?? 0) ^ 1;
        assert.equal(verifyProof({ ...shown, [field]: changed }, proofKeys), undefined);
      }
    const again = await exchange(handle.reveal());
    const replayed = { ...again.shown, proof: shown.proof };
    assert.equal(verifyProof(replayed, proofKeys), undefined);
    const short = { ...shown, proof: shown.proof.subarray(0, 31) };
    assert.equal(verifyProof(short, proofKeys), undefined);
    const long = { ...shown, proof: Buffer.concat([shown.proof, Buffer.of(0)]) };
    assert.equal(verifyProof(long, proofKeys), undefined);
  });

  test("what is stored does not sign in in the place of the handle", async () => {
    const { proofKeys } = newHandle(ID, systemRandom);
    for (const form of ["hex", "base64"] as const) {
      const { shown } = await exchange(Buffer.from(proofKeys).toString(form));
      assert.equal(verifyProof(shown, proofKeys), undefined);
    }
    // StoredKey in the place of ClientKey: what a thief of the store could compute.
    const { shown } = await exchange("anything");
    const storedKey = proofKeys.subarray(0, 32);
    const proof = createHmac("sha256", storedKey)
      .update(shown.authMessage)
      .digest()
      .map((byte, index) => byte ^ (storedKey[index] ?? 0));
    assert.equal(verifyProof({ ...shown, proof }, proofKeys), undefined);
  });

  test("has another salt for each delegation, the same when asked again", () => {
    assert.deepEqual(handleSalt(ID), handleSalt(ID));
    assert.notDeepEqual(handleSalt(ID), handleSalt("d-7f3kabce"));
    assert.equal(handleSalt("d-never-made").length, handleSalt(ID).length);
  });
});

test("a handle's name is its first two parts", () => {
  assert.equal(delegationOfHandleName("cst_7f3kabcd"), "d-7f3kabcd");
  for (const bad of ["7f3kabcd", "cst_", "cst_ABCD", "cst_7f3k_x", "cst_ilou"])
    assert.equal(delegationOfHandleName(bad), undefined, bad);
});
