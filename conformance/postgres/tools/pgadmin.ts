// The SQL templates of pgAdmin itself, from its package at PyPI, rendered by render-pgadmin.py. It is 120 MB:
// fetched at full size (CUSTODY_CI_SIZE=full), used where it is in the cache, skipped with the reason elsewhere.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const VERSION = "9.18";
const SHA256 = "9ea084fc416265e4fc95c9fb6e6ae0f6668d34da8670c9b65c79cea054124356";
const RENDER = fileURLToPath(new URL("render-pgadmin.py", import.meta.url));
const MAX_OUTPUT_BYTES = 16 << 20;

/** Its statements, or why there are none. */
export function pgadminStatements(): { readonly statements: string } | { readonly why: string } {
  const cache = join(process.env.CUSTODY_CACHE ?? join(homedir(), ".cache", "custody"), "pgadmin");
  const wheel = join(cache, `pgadmin4-${VERSION}-py3-none-any.whl`);
  if (!existsSync(wheel)) {
    if (process.env.CUSTODY_CI_SIZE !== "full")
      return { why: "pgAdmin is fetched at full size (CUSTODY_CI_SIZE=full)" };
    const why = fetchWheel(cache);
    if (why !== undefined) return { why };
  }
  const digest = createHash("sha256").update(readFileSync(wheel)).digest("hex");
  if (digest !== SHA256) {
    rmSync(wheel);
    throw new Error(`pgAdmin's package has the digest ${digest}, which is another's`);
  }
  const rendered = spawnSync("python3", [RENDER, wheel], {
    encoding: "utf8",
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  if (rendered.status === 0) return { statements: rendered.stdout };
  if (rendered.stderr?.includes("No module named 'jinja2'")) return { why: "there is no jinja2" };
  throw new Error(`pgAdmin's templates cannot be rendered: ${rendered.stderr ?? rendered.error}`);
}

function fetchWheel(cache: string): string | undefined {
  mkdirSync(cache, { recursive: true });
  const wanted = join(cache, "requirements.txt");
  writeFileSync(wanted, `pgadmin4==${VERSION} --hash=sha256:${SHA256}\n`);
  const words = ["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"];
  const pip = spawnSync("python3", [...words, "--dest", cache, "--requirement", wanted], {
    encoding: "utf8",
  });
  return pip.status === 0 ? undefined : "pip cannot download pgAdmin";
}
