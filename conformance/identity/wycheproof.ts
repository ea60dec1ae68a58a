// Wycheproof's vectors of signed JWTs (C2SP, Apache-2.0), by the way a provider's keys are read and used here:
// what they call invalid is refused, what they call valid is taken unless it is of a kind that is refused
// here by intent. They are fetched when the suite runs, by Go's own client into Go's own cache, at one
// version whose sum is known; where that cannot be done the suite says so.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { keySet } from "@custody/gateway/identity/keys.ts";
import { compactVerify, createLocalJWKSet, decodeProtectedHeader } from "jose";
import type { Cases } from "./cases.ts";

const MODULE = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a";
const SUM = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c=";
const TIMEOUT_MS = 120_000;

type Key = Readonly<Record<string, unknown>>;
type KeyOrSet = Key & { readonly keys?: readonly Key[] };

interface Group {
  readonly comment: string;
  readonly public?: KeyOrSet;
  readonly private?: KeyOrSet;
  readonly tests: readonly {
    readonly tcId: number;
    readonly comment: string;
    readonly jws: unknown;
    readonly result: "valid" | "invalid" | "acceptable";
  }[];
}

/** Everything a configuration can name. */
const ALGORITHMS = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"],
  "EdDSA",
];

export async function wycheproofCases({ check, skip }: Cases): Promise<void> {
  const fetched = fetchVectors();
  if ("why" in fetched) {
    skip("Wycheproof's JOSE vectors", fetched.why);
    return;
  }
  for (const name of ["json_web_signature", "json_web_key"]) {
    const file = join(fetched.directory, "testvectors_v1", `${name}_test.json`);
    const { testGroups } = JSON.parse(readFileSync(file, "utf8")) as { testGroups: Group[] };
    for (const [index, group] of testGroups.entries()) {
      const { comment, tests } = group;
      await check(`Wycheproof ${name} ${index + 1}, ${comment}: ${tests.length} vectors`, () =>
        judge(group),
      );
    }
  }
}

async function judge(group: Group): Promise<void> {
  const keys = publicKeys(group);
  const wrong: string[] = [];
  for (const { tcId, comment, jws, result } of group.tests) {
    const isTaken = await verifies(keys, jws);
    const isWrong = isTaken ? result === "invalid" : result === "valid" && mustVerify(keys, jws);
    if (isWrong) wrong.push(`${tcId} ${comment} is ${result}`);
  }
  if (wrong.length > 0) throw new Error(wrong.join("; "));
}

const SECRET_PARTS = new Set(["d", "p", "q", "dp", "dq", "qi"]);

/** As a provider would publish them. */
function publicKeys({ public: shown, private: hidden }: Group): readonly Key[] {
  const given = shown ?? hidden ?? {};
  return (given.keys ?? [given]).map((key) =>
    Object.fromEntries(Object.entries(key).filter(([name]) => !SECRET_PARTS.has(name))),
  );
}

/**
 * Symmetric keys have no place in a public set; a key that names its algorithm is used with no other, nor
 * one that there is not (the set's `ES521`, and its PS256 key for PS384).
 */
function mustVerify(keys: readonly Key[], jws: unknown): boolean {
  const usable = keys.filter((key) => key.kty !== "oct");
  if (usable.length === 0) return false;
  const { alg } = decodeProtectedHeader(String(jws));
  return usable.some((key) => key.alg === undefined || key.alg === alg);
}

async function verifies(keys: readonly Key[], jws: unknown): Promise<boolean> {
  if (typeof jws !== "string") return false;
  try {
    const usable = createLocalJWKSet(keySet({ keys }));
    await compactVerify(jws, usable, { algorithms: ALGORITHMS });
    return true;
  } catch {
    return false;
  }
}

function fetchVectors(): { readonly directory: string } | { readonly why: string } {
  const done = spawnSync("go", ["mod", "download", "-json", MODULE], {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    env: { ...process.env, GOFLAGS: "-mod=mod", GOTOOLCHAIN: "local" },
  });
  if (done.error !== undefined) return { why: `there is no Go here: ${done.error.message}` };
  let told: Record<string, unknown>;
  try {
    told = JSON.parse(done.stdout);
  } catch {
    return { why: `go mod download: ${done.stderr.trim() || done.stdout.trim()}` };
  }
  if (typeof told.Dir !== "string") return { why: `go mod download: ${String(told.Error)}` };
  if (told.Sum !== SUM) throw new Error(`${MODULE} has the sum ${String(told.Sum)}, not ${SUM}`);
  return { directory: told.Dir };
}
