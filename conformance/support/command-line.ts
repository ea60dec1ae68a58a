// Runs the `custody` command as a user would: a process of its own, with a home of its own, its output
// read as JSON.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** The program every user runs. */
export const CUSTODY = fileURLToPath(
  new URL("../../packages/cli/bin/custody.mjs", import.meta.url),
);

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON; undefined when it is none. */
  readonly json: unknown;
  /** stdout as one JSON value a line; lines that are none are left out. */
  readonly lines: readonly unknown[];
}

export interface CommandOptions {
  /** The folder of this user's contexts and tokens. */
  readonly home: string;
  /** More variables: CUSTODY_TOKEN for agents. */
  readonly env?: Readonly<Record<string, string>>;
  /** Text on its standard input. */
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** The whole environment of a user's command; nothing of ours leaks into it. */
export function userEnvironment(
  home: string,
  env: Readonly<Record<string, string>> = {},
): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: home,
    CUSTODY_HOME: home,
    NO_COLOR: "1",
    LC_ALL: "C.UTF-8",
    ...env,
  };
}

/** Runs `custody <args>`; a failure is a result, not an exception. */
export async function runCustody(
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const child = spawn(process.execPath, [CUSTODY, ...args], {
    env: userEnvironment(options.home, options.env),
    cwd: options.home,
    stdio: ["pipe", "pipe", "pipe"],
    timeout: options.timeoutMs ?? 60_000,
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  return {
    exitCode: typeof code === "number" ? code : -1,
    stdout,
    stderr,
    json: parse(stdout),
    lines: stdout
      .split("\n")
      .map(parse)
      .filter((value) => value !== undefined),
  };
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
