// pgx, unmodified, built by Go's own tools from the module proxy: the cases are in pgx/main.go.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Program, programClient } from "./programs.ts";

function built(): Program | { readonly why: string } {
  if (spawnSync("go", ["version"]).status !== 0) return { why: "there is no Go" };
  const folder = mkdtempSync(join(tmpdir(), "custody-pgx-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, "pgx-cases");
  const done = spawnSync("go", ["build", "-o", program, "."], {
    cwd: fileURLToPath(new URL("pgx", import.meta.url)),
    encoding: "utf8",
  });
  return done.status === 0 ? { command: program, args: [] } : { why: done.stderr };
}

export const pgx = programClient("pgx", built());
