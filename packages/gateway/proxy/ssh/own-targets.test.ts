import assert from "node:assert/strict";
import test from "node:test";
import type { SshTarget, Target } from "../../target/target.ts";
import { isOwnTarget } from "./own-targets.ts";

function host(name: string, at: string, port: number): SshTarget {
  return {
    ...{ protocol: "ssh", name, host: at, port, tags: {}, accounts: [] },
    ...{ hostKeys: [], hostAuthorities: [], hostNames: [at] },
  };
}

const web = host("web-1", "127.0.0.1", 22);
const db = host("db", "db.internal.example", 5432);
const byAddress = host("by-address", "192.0.2.7", 8443);
const targets = new Map<string, Target>([
  ["by-address", byAddress],
  ["web-1", web],
  ["db", db],
]);

test("a target by its name, its address, or the host's own loopback in any spelling", async () => {
  for (const [at, port] of [
    ["web-1", 22],
    ["WEB-1.", 7422],
    ["db", 22],
    ["db.internal.example", 5432],
    ["DB.internal.example.", 5432],
    ["127.0.0.1", 22],
    ["localhost", 22],
    ["127.1", 22],
    ["::1", 22],
    ["0.0.0.0", 22],
    ["::ffff:7f00:1", 22],
    ["0:0:0:0:0:0:0:1", 22],
    ["::ffff:c000:207", 8443],
    ["0:0:0:0:0:ffff:192.0.2.7", 8443],
    ["2130706433", 22],
  ] as const)
    assert.equal(await isOwnTarget(targets, web, at, port), true, at);
});

test("nothing else", async () => {
  for (const [at, port] of [
    ["127.0.0.1", 8080],
    ["192.0.2.1", 22],
    ["other.invalid", 5432],
  ] as const)
    assert.equal(await isOwnTarget(targets, web, at, port), false, at);
});

test("without looking names up a target is known by its own name", async () => {
  assert.equal(await isOwnTarget(targets, web, "WEB-1.", 7422, false), true);
  assert.equal(await isOwnTarget(targets, web, "localhost", 22, false), false);
});
