// The demo's stage with people signed in, and programs for agents to run, for tests of the command line
// against the real gateway.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { type CommandResult, runCustody } from "../../conformance/support/command-line.ts";
import { openStage, type Stage } from "../../demo/stage.ts";

export interface SignedInStage extends AsyncDisposable {
  readonly stage: Stage;
  /** As a person, who holds a sign-in. */
  as(
    person: string,
    args: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<CommandResult>;
  /** A file that is run. */
  script(name: string, text: string): string;
  /** The command line of a client that runs one statement; its answer, or the error, is JSON. */
  query(sql: string): readonly [string, ...string[]];
}

export async function openSignedInStage(people: readonly string[]): Promise<SignedInStage> {
  await using parts = new AsyncDisposableStack();
  const stage = parts.use(await openStage(() => undefined));
  for (const person of people) await signIn(stage, person);
  const script = (name: string, text: string) => {
    const path = join(stage.home("programs"), name);
    writeFileSync(path, text, { mode: 0o700 });
    return path;
  };
  const all = parts.move();
  return {
    stage,
    as: (person, args, env = {}) => runCustody(args, { home: stage.home(person), env }),
    script,
    query: (sql) => [process.execPath, script("query.mjs", QUERY), sql],
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function signIn(stage: Stage, name: string): Promise<void> {
  const { url, fingerprint } = stage.gateway;
  const home = stage.home(name);
  const token = join(home, "id-token");
  writeFileSync(token, await stage.provider.idToken(name), { mode: 0o600 });
  const args = ["login", url, "--ca-fingerprint", fingerprint, "--token-file", token];
  const done = await runCustody(args, { home });
  assert.equal(done.exitCode, 0, done.stderr);
}

/** Everything a client of the agent has to know is in its environment: no argument says where. */
const QUERY = `
import { readFileSync } from "node:fs";
import pg from ${JSON.stringify(import.meta.resolve("pg"))};
const ca = readFileSync(process.env.PGSSLROOTCERT, "utf8");
const client = new pg.Client({ ssl: { ca, servername: process.env.PGHOST } });
client.on("notice", (notice) => console.error(notice.message));
await client.connect();
try {
  const { rows } = await client.query(process.argv[2]);
  console.log(JSON.stringify(rows));
} catch (error) {
  console.log(JSON.stringify({ code: error.code, detail: error.detail }));
  process.exitCode = 7;
}
await client.end();
`;
