// What is decided against what runs: a line is read as the gateway reads it, the text that would be sent
// is run in every shell of the machine, and what programs were started with is held against the effects.

import { type DecidedCommand, readLine } from "../../../packages/gateway/command/decide-command.ts";
import { type Grammars, loadGrammars } from "../../../packages/gateway/command/load-grammars.ts";
import type { CommandEffect } from "../../../packages/gateway/command/scope.ts";
import {
  byWords,
  openPlayground,
  type Playground,
  type Seen,
  type Shell,
  shells,
} from "../../support/shells.ts";
import type { LineAttempt } from "./line-attempt.ts";

export interface LineJudge extends Disposable {
  /** Sentences that say what is wrong; none when all is well. */
  judge(attempt: LineAttempt): readonly string[];
  /** Whether a shell starts `evil` when it is given the line as it is. */
  isLive(attempt: LineAttempt): boolean;
  readonly shellNames: readonly string[];
}

/** Real programs that start others, by the names lines have for them. */
export const LAUNCHERS: Readonly<Record<string, string>> = {
  env: "/usr/bin/env",
  nice: "/usr/bin/nice",
  nohup: "/usr/bin/nohup",
  timeout: "/usr/bin/timeout",
  setsid: "/usr/bin/setsid",
  stdbuf: "/usr/bin/stdbuf",
  xargs: "/usr/bin/xargs",
  find: "/usr/bin/find",
  flock: "/usr/bin/flock",
  sh: "/usr/bin/dash",
  bash: "/usr/bin/bash",
};

/** A program that is known, so that what is told apart is the lines and not that they run it. */
export const GRAMMAR =
  "programs: { 'p, if': { lenient: true, permute: false, operands: [text...] } }";

export const TELLTALES = ["p", "evil", "if"];

export function openLineJudge(): LineJudge {
  const grammars = loadGrammars([{ name: "telltales", text: GRAMMAR }]);
  const playground = openPlayground(TELLTALES, LAUNCHERS);
  const all = shells();
  return {
    shellNames: all.map(({ name }) => name),
    judge(attempt) {
      const bytes = Buffer.from(attempt.line);
      const reading = readLine(bytes, grammars);
      if (attempt.must === "refused")
        return reading.ok ? [`was not refused: ${reading.command.line.slice(0, 200)}`] : [];
      if (!reading.ok) return [`was refused: ${reading.refusal.message}`];
      const { effects, line } = reading.command;
      const runsCode = effects.some(({ kind }) => kind === "exec_code");
      if (attempt.must === "code") return runsCode ? [] : ["is taken for programs alone"];
      if (runsCode) return ["is taken for code"];
      return [
        ...sameAgain(line, grammars),
        ...all.flatMap((shell) =>
          differences(effects, see(playground, shell, reading.command)).map(
            (what) => `${shell.name}: ${what}`,
          ),
        ),
      ];
    },
    isLive({ line }) {
      if (typeof line !== "string" || line.length > 1000 || line.includes("\0")) return false;
      return all.some((shell) =>
        playground.run(shell, line).calls.some(([program]) => program === "evil"),
      );
    },
    [Symbol.dispose]: () => playground[Symbol.dispose](),
  };
}

/** A shell that ends does not wait for what it left in the background; a file of lines says wait. */
function see(playground: Playground, shell: Shell, { line, background }: DecidedCommand): Seen {
  if (!background) return playground.run(shell, line);
  return playground.runAll(shell, [line])[0] ?? { calls: [], files: [] };
}

/** What is sent, read once more, is decided as the same. */
function sameAgain(line: string, grammars: Grammars): string[] {
  const again = readLine(Buffer.from(line), grammars);
  if (!again.ok) return [`what is sent would be refused: ${again.refusal.message}`];
  return again.command.line === line ? [] : [`what is sent would be sent as ${again.command.line}`];
}

/** What ran and was not decided, and the other way round. */
export function differences(
  effects: readonly CommandEffect[],
  seen: Pick<Seen, "calls">,
): string[] {
  const left = [...seen.calls].sort(byWords);
  const problems: string[] = [];
  for (const effect of effects) {
    if (effect.program === "<" || effect.program === ">") continue;
    const at = left.findIndex((call) => isCallOf(call, effect));
    // Without input xargs starts nothing where its words have a place.
    if (at === -1 && effect.open && effect.launchers.at(-1) === "xargs") continue;
    if (at === -1) problems.push(`did not run: ${effect.line}`);
    else left.splice(at, 1);
  }
  return [...problems, ...left.map((call) => `ran undecided: ${JSON.stringify(call)}`)];
}

function isCallOf(call: readonly string[], effect: CommandEffect): boolean {
  const words = [effect.program, ...effect.arguments];
  if (!effect.open) return JSON.stringify(call) === JSON.stringify(words);
  // find put the folder it is in for {}; xargs had no input.
  const filled = words.map((word) =>
    effect.launchers.at(-1) === "find" ? word.replaceAll("{}", ".") : word,
  );
  return JSON.stringify(call) === JSON.stringify(filled);
}
