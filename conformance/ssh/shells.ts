// Shells that others watch, take part in and end: `custody tail`, `join` and `end` on a live session.

import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { CUSTODY, runCustody, userEnvironment } from "../support/command-line.ts";
import type { SshCase } from "./checks.ts";
import type { SshStage } from "./stage.ts";

const HOST = "127.0.0.1";
const PYTHON = "/usr/bin/python3";

export const SHELLS: readonly SshCase[] = [
  {
    name: "a shell is watched, and a second person types into it; both are told to its owner",
    needs: [PYTHON],
    async run(stage) {
      // What is typed is spelled otherwise than what is waited for, since the terminal echoes it.
      const shell = openShell(stage, "echo re''ady; read -r line; echo got-$line; exit 7");
      const id = await liveShell(stage);
      const home = stage.home("operator");
      const watched = runCustody(["tail", id, "--json"], { home });
      // The shell ends with what the second person types: the first has to be there by then.
      await isThere(stage, id);
      const script = new URL("join-shell.py", import.meta.url).pathname;
      const joined = await stage.run(
        "",
        [
          ...[PYTHON, script, "ready", "from-olga\\r"],
          ...["--", process.execPath, CUSTODY, "join", id, "--mode", "peer"],
        ],
        { env: userEnvironment(home) as Record<string, string>, timeoutMs: 90_000 },
      );
      assert.match(
        joined.stdout.toString(),
        /got-from-olga[\s\S]*the shell has ended/,
        joined.stderr,
      );
      const ran = await shell;
      assert.equal(ran.code, 7, ran.stdout.toString());
      assert.match(ran.stdout.toString(), /got-from-olga/);
      const told = ran.stdout.toString() + ran.stderr;
      assert.match(told, /Custody: corp\/operator.* watches this shell/);
      assert.match(told, /Custody: corp\/operator.* takes part in this shell/);
      const shown = outputOf((await watched).lines);
      assert.match(shown, /ready/);
      assert.match(shown, /got-from-olga/);
      const replayed = JSON.stringify(await stage.replay(id));
      assert.match(replayed, /"type":"joined"/);
      assert.match(replayed, /"type":"typed"/);
    },
  },
  {
    name: "hold to run: the Enter of a line that is denied as a command is held once",
    needs: [PYTHON],
    async run(stage) {
      const script = new URL("join-shell.py", import.meta.url).pathname;
      const steps = [
        // Whatever the prompt is: the shell says when it is there.
        ...["", "PS1=; echo st''arted\\r", "started\r\n", "rm /no/such/file\\r"],
        ...["Enter once more", "\\r", "No such file", "exit 9\\r"],
      ];
      const ran = await stage.run(
        stage.handles.person,
        [PYTHON, script, ...steps, "--", "ssh", "-tt", ...stage.options, HOST],
        { timeoutMs: 90_000 },
      );
      assert.equal(ran.code, 9, ran.stdout.toString() + ran.stderr);
      assert.match(ran.stdout.toString(), /would not run this as a command: exec on command rm/);
    },
  },
  {
    name: "a moderator ends a shell; who may not join sees nothing, be it their own session",
    async run(stage) {
      const shell = openShell(stage, "echo re''ady; read -r line");
      const id = await liveShell(stage);
      for (const args of [
        ["tail", id],
        ["join", id, "--mode", "peer"],
      ]) {
        const refused = await runCustody(args, { home: stage.home("engineer") });
        assert.notEqual(refused.exitCode, 0);
        assert.match(refused.stderr, /policies do not let you join as (observer|peer)/);
      }
      const { ended } = (await stage.operator(["end", id, "--reason", "enough"])) as {
        ended: boolean;
      };
      assert.equal(ended, true);
      const ran = await shell;
      assert.equal(ran.code, 255);
      assert.match(ran.stdout.toString() + ran.stderr, /ended this session: enough/);
      const late = await runCustody(["join", id], { home: stage.home("operator") });
      assert.match(late.stderr, /no live session/);
    },
  },
];

/** Its input stays open: nothing can be typed into a shell whose owner has ended theirs. */
function openShell(stage: SshStage, line: string) {
  const ssh = ["ssh", "-tt", ...stage.options, HOST].map((word) => `'${word}'`).join(" ");
  const keys = join(stage.folder, `keys-${line.length}`);
  const script = `mkfifo ${keys}; ${ssh} <${keys} & exec 3>${keys}; printf '%s\\n' "$LINE" >&3; wait $!`;
  return stage.run(stage.handles.person, ["sh", "-c", script], {
    ...{ env: { LINE: line }, timeoutMs: 90_000 },
  });
}

/** The session whose shell waits for input. */
async function liveShell(stage: SshStage): Promise<string> {
  for (let tries = 0; tries < 300; tries += 1) {
    const { sessions } = (await stage.operator(["sessions", "--state", "live"])) as {
      sessions: readonly { readonly id: string }[];
    };
    for (const { id } of sessions) {
      const events = await stage.replay(id).catch(() => []);
      if (outputOf(events, "data").includes("ready")) return id;
    }
    await delay(100);
  }
  throw new Error("there is no shell");
}

/** Somebody has joined it. */
async function isThere(stage: SshStage, id: string): Promise<void> {
  for (let tries = 0; tries < 300; tries += 1) {
    const events = await stage.replay(id).catch(() => []);
    if (JSON.stringify(events).includes('"joined"')) return;
    await delay(100);
  }
  throw new Error("nobody came");
}

function outputOf(lines: readonly unknown[], kind = "output"): string {
  return lines
    .map((line) => line as { readonly kind?: string; readonly bytes?: string })
    .filter((line) => line.kind === kind)
    .map(({ bytes = "" }) => Buffer.from(bytes, "base64").toString("utf8"))
    .join("");
}
