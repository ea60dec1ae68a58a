import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { systemRandom } from "../base/ids.ts";
import type { Chain } from "./chain.ts";
import { KNOWN_AFTER_MS, openSigningKey, SIGNS_MS } from "./signing-key.ts";
import { createTokens } from "./tokens.ts";

const folder = await mkdtemp(join(tmpdir(), "custody-signing-"));
after(() => rm(folder, { recursive: true, force: true }));
const clock = { now: Date.now(), nowMs: () => clock.now, monotonicMs: () => clock.now };
const issuer = "https://custody.test";

function chain(): Chain {
  return {
    hops: [
      {
        delegationId: "d-aaaa",
        kind: "user",
        id: "corp/engineer",
        name: "engineer",
        subject: "corp/1",
        groups: [],
        provenance: "attested",
        grant: undefined,
        expiresAtMs: clock.now + 3_600_000,
      },
    ],
  };
}

test("a key that is old signs no more, verifies what it signed, and is forgotten in the end", async () => {
  const file = join(folder, "token.key");
  const first = await openSigningKey(file, clock);
  assert.equal((await stat(file)).mode & 0o077, 0);
  clock.now += SIGNS_MS - 60_000;
  assert.equal((await openSigningKey(file, clock)).kid, first.kid);
  const opened = createTokens({ key: first, issuer, clock, random: systemRandom });
  const token = await opened.sign(chain());
  clock.now += 120_000;
  const second = await openSigningKey(file, clock);
  assert.notEqual(second.kid, first.kid);
  assert.deepEqual(
    second.earlier.map(({ kid }) => kid),
    [first.kid],
  );
  const tokens = createTokens({ key: second, issuer, clock, random: systemRandom });
  assert.equal((await tokens.verify(token)).delegationId, "d-aaaa");
  assert.deepEqual(
    tokens.jwks.map(({ kid }) => kid),
    [second.kid, first.kid],
  );
  const header = JSON.parse(
    Buffer.from((await tokens.sign(chain())).split(".")[0] ?? "", "base64url").toString(),
  );
  assert.equal(header.kid, second.kid);
  clock.now += KNOWN_AFTER_MS + 1000;
  assert.deepEqual((await openSigningKey(file, clock)).earlier, []);
  assert.deepEqual(await readdir(folder), ["token.key"]);
});

test("what is no Ed25519 key is an error of the configuration and stays as it is", async () => {
  const file = join(folder, "broken.key");
  await writeFile(file, "not a key");
  await assert.rejects(openSigningKey(file, clock), { code: "configuration" });
  assert.equal((await stat(file)).size, 9);
});
