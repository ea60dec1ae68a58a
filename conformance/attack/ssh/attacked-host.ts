// A host behind the gateway whose account has each shell of the machine for its login shell in turn, and
// tell-tale programs on its path that write down the words they are started with. The attacker may run
// every program, and code nobody reads never; so what runs must be what was decided.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readLine } from "@custody/gateway/command/decide-command.ts";
import { loadGrammars } from "@custody/gateway/command/load-grammars.ts";
import { openSshStage } from "../../ssh/stage.ts";
import { openWireClient } from "../../ssh/wire-client.ts";
import { readTold, type Shell, shells, writeTellTales } from "../../support/shells.ts";
import { differences, GRAMMAR, LAUNCHERS, TELLTALES } from "./judge-lines.ts";
import type { LineAttempt } from "./line-attempt.ts";

export interface AttackedHost extends AsyncDisposable {
  readonly shells: readonly Shell[];
  /** Sentences that say what is wrong; none when all is well. */
  attack(shell: Shell, attempt: LineAttempt): Promise<readonly string[]>;
}

const POLICIES = `
@id("everybody-connects")
permit (principal, action == Custody::Action::"connect", resource);
@id("everybody-delegates")
permit (principal, action == Custody::Action::"delegate", resource);
@id("programs-for-everybody")
permit (principal, action in SSH::Action::"data", resource);
`;
const DENIED = 126;

export async function openAttackedHost(): Promise<AttackedHost> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), "custody-attacked-"));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const path = (...names: string[]) => join(folder, ...names);
  const { bin, fallback: told } = writeTellTales(folder, TELLTALES, LAUNCHERS);
  writeFileSync(path("grammar.yaml"), GRAMMAR);
  // sshd gives the line to the login shell as its second argument after -c, and so does this.
  const environment = `PATH=${bin} HOME=${path("work")} LANG=C.UTF-8`;
  const login = `#!/usr/bin/dash\ncd ${path("work")}\nexport ${environment}\nread -r shell words <${path("shell")}\nexec $shell $words -c "$SSH_ORIGINAL_COMMAND"\n`;
  writeFileSync(path("login"), login, { mode: 0o755 });
  const stage = parts.use(
    await openSshStage({
      policies: POLICIES,
      sshd: [`ForceCommand exec ${path("login")}`],
      more: `grammars: [${path("grammar.yaml")}]\n`,
    }),
  );
  const client = parts.use(
    await openWireClient({
      port: Number(stage.port),
      user: "web-1",
      secret: await stage.delegate("attacker", "ssh:data"),
    }),
  );
  const grammars = loadGrammars([{ name: "telltales", text: GRAMMAR }]);
  const all = parts.move();
  return {
    shells: shells().filter(({ name }) => ["dash", "bash", "busybox"].includes(name)),
    async attack(shell, { line, must }) {
      for (const emptied of [told, path("work")]) {
        rmSync(emptied, { recursive: true, force: true });
        mkdirSync(emptied);
      }
      writeFileSync(path("shell"), `${shell.file.join(" ")}\n`);
      const ran = await client.exec(typeof line === "string" ? Buffer.from(line) : line);
      const calls = readTold(told);
      const files = readdirSync(path("work"));
      const reading = readLine(Buffer.from(line), grammars);
      const isRun = must === "same" && reading.ok && !reading.command.background;
      if (!isRun) {
        const sentences = calls.map((call) => `ran undecided: ${JSON.stringify(call)}`);
        if (files.length > 0) sentences.push(`made ${files.join(", ")}`);
        if (ran.status !== DENIED) sentences.push(`its status is ${ran.status}: ${ran.stderr}`);
        return sentences;
      }
      return differences(reading.command.effects, { calls });
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
