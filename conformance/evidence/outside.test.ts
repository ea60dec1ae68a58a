// The real commands together: a gateway, a witness of ours in another process, anchors in a folder. A proof
// of one record, a restored backup, a new key.

import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CUSTODY, runCustody, userEnvironment } from "../support/command-line.ts";
import { restartGateway, startGateway } from "../support/gateway.ts";
import { startWatched } from "../support/watched-process.ts";

const folder = mkdtempSync(join(tmpdir(), "custody-outside-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const custody = (...args: string[]) => runCustody(args, { home: folder });

interface RunningWitness extends AsyncDisposable {
  readonly url: string;
}

async function startWitness(directory: string, logs: readonly string[]): Promise<RunningWitness> {
  const command = [CUSTODY, "witness", "serve", directory, "--listen", "127.0.0.1:0", "--json"];
  const watched = startWatched([process.execPath, ...command, "--log", ...logs], {
    env: userEnvironment(folder),
    cwd: folder,
  });
  const { stdout } = watched.child;
  assert.ok(stdout !== null);
  for await (const line of createInterface({ input: stdout })) {
    if (!line.startsWith("{")) continue;
    const { port } = JSON.parse(line) as { port: number };
    return {
      url: `http://127.0.0.1:${port}/`,
      async [Symbol.asyncDispose]() {
        await watched.stop();
      },
    };
  }
  throw new Error("the witness did not start");
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !isSo(); await delay(50))
    assert.ok(Date.now() < end, `${what} took too long`);
}

test("a witness, anchors, a proof, a restored backup and a new key, by the real commands", async () => {
  const made = await custody(
    "witness",
    "init",
    join(folder, "w1"),
    "--name",
    "witness.example/w1",
    "--json",
  );
  const { keys } = made.json as { keys: string[] };
  assert.equal(made.exitCode, 0, made.stderr);
  const again = await custody("witness", "init", join(folder, "w1"), "--name", "x");
  assert.equal(again.exitCode, 1, "keys are never written over");

  const place = join(folder, "gateway");
  await (await startGateway({ folder: place, configuration: "" }))[Symbol.asyncDispose]();
  const data = join(place, "data");
  const vkeyOf = () => readFileSync(join(data, "keys", "log.vkey"), "utf8").trim();
  const first = vkeyOf();
  const configFile = join(place, "custody.yaml");
  const configure = (url: string) =>
    writeFileSync(
      configFile,
      `${readFileSync(configFile, "utf8").split("\nlog:")[0]}
log:
  postQuantum: true
  witnesses: [{ url: "${url}", keys: ${JSON.stringify(keys)} }]
  cosignEvery: 1s
  anchors: { folder: ../worm }
`,
    );
  const run = async () => {
    const before = existsSync(join(data, "log", "cosigned"))
      ? readFileSync(join(data, "log", "cosigned"), "utf8")
      : "";
    await using gateway = await restartGateway(place);
    await until("a cosigned head", () => {
      const path = join(data, "log", "cosigned");
      return existsSync(path) && readFileSync(path, "utf8") !== before;
    });
    return gateway.output();
  };
  {
    await using witness = await startWitness(join(folder, "w1"), [first]);
    configure(witness.url);
    await run();
    cpSync(place, join(folder, "backup"), { recursive: true });
    await run();
    const anchors = readdirSync(join(folder, "worm"));
    assert.ok(anchors.length >= 2, anchors.join());

    const log = join(data, "log");
    const asked = ["--key", first, "--witness", ...keys];
    const verified = await custody("audit", "verify", log, ...asked);
    assert.equal(verified.exitCode, 0, verified.stdout + verified.stderr);
    assert.match(verified.stdout, /cosigned\s+the first \d+ records, by witness\.example\/w1 at/);
    const proof = await custody("audit", "prove", "0", "--log", log);
    const file = join(folder, "first.tlog-proof");
    writeFileSync(file, proof.stdout);
    const checked = await custody("audit", "check-proof", file, ...asked, "--json");
    assert.equal(checked.exitCode, 0, checked.stdout + checked.stderr);
    const { index, record } = checked.json as { index: number; record: { event: string } };
    assert.deepEqual([index, record.event], [0, "gateway.started"]);
    for (const [from, to] of [
      ["index 0", "index 1"],
      ["extra eyJ2", "extra eyJ3"],
      ["\u2014 witness.example/w1 ", "\u2014 witness.example/w2 "],
    ] as const) {
      assert.ok(proof.stdout.includes(from), from);
      writeFileSync(file, proof.stdout.replaceAll(from, to));
      assert.equal((await custody("audit", "check-proof", file, ...asked)).exitCode, 5, to);
    }

    const backup = join(folder, "backup");
    await assert.rejects(restartGateway(backup), (error: Error) => {
      assert.match(error.message, /it ended with 4/);
      assert.match(error.message, /the log is not gone on with: .* has seen \d+ of its records/);
      assert.match(error.message, /When the log is not gone on with/);
      return true;
    });

    const rotated = await custody("log", "rotate", "--config", configFile, "--json");
    assert.equal(rotated.exitCode, 0, rotated.stderr);
    assert.deepEqual(rotated.json, { vkey: vkeyOf(), retired: first });
  }
  await using witness = await startWitness(join(folder, "w1"), [first, vkeyOf()]);
  configure(witness.url);
  await run();
  const whole = ["audit", "verify", join(data, "log"), "--witness", ...keys, "--key"];
  assert.equal((await custody(...whole, vkeyOf())).exitCode, 0);
  assert.equal((await custody(...whole, first)).exitCode, 5);
});
