// The process: its streams and its exit code. Everything else is program.ts, which tests run without one.

import { runCli } from "./program.ts";

const { stdout, stderr, stdin, env } = process;

// A reader that went away (`| head`) ends us quietly.
stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: (text) => void stdout.write(text),
  stderr: (text) => void stderr.write(text),
  colour: stdout.isTTY === true && (env.NO_COLOR ?? "") === "" && env.TERM !== "dumb",
  columns: stdout.isTTY === true ? Math.max(60, stdout.columns) : 120,
  environment: env,
  nowMs: () => Date.now(),
  readStdin: async () => {
    let text = "";
    stdin.setEncoding("utf8");
    for await (const chunk of stdin) text += String(chunk);
    return text;
  },
  typed: stdin.isTTY === true ? typed : undefined,
});

function typed(onKeys: (keys: Buffer) => void): { readonly stop: () => void } {
  stdin.setRawMode(true);
  stdin.on("data", onKeys);
  return {
    stop() {
      stdin.off("data", onKeys);
      stdin.setRawMode(false);
      stdin.pause();
    },
  };
}
