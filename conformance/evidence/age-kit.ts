// age's own test kit (c2sp.org/CCTV/age, from the Go module proxy) on the library that opens and seals
// recordings. Each file says what must come of it; what needs an algorithm the library has not is skipped.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inflateSync } from "node:zlib";
import { armor, Decrypter } from "age-encryption";
import { report, skip } from "./report.ts";

const MODULE = "c2sp.org/CCTV/age@v0.0.0-20251208015420-e9274a7bdbfd";

export async function runAgeKit(): Promise<void> {
  const got = spawnSync("go", ["mod", "download", "-json", MODULE], {
    encoding: "utf8",
    cwd: tmpdir(),
    env: { ...process.env, GOFLAGS: "-mod=mod" },
  });
  const { Dir: folder } = JSON.parse(got.stdout || "{}") as { Dir?: string };
  if (got.status !== 0 || folder === undefined)
    return skip("age's test kit", "the Go module proxy does not give it");
  const wrong: string[] = [];
  const kit = join(folder, "testdata");
  const names = readdirSync(kit);
  for (const name of names) {
    const problem = await runOne(readFileSync(join(kit, name)));
    if (problem !== undefined) wrong.push(`${name}: ${problem}`);
  }
  report(`age's test kit, ${names.length} files`, wrong.length === 0, wrong.join("\n"));
}

/** What is not as the file says; undefined: all is. */
async function runOne(file: Buffer): Promise<string | undefined> {
  const end = file.indexOf("\n\n");
  const fields = new Map<string, string[]>();
  for (const line of file.toString("latin1", 0, end).split("\n")) {
    const [key = "", ...value] = line.split(": ");
    fields.set(key, [...(fields.get(key) ?? []), value.join(": ")]);
  }
  const body = file.subarray(end + 2);
  const expected = fields.get("expect")?.[0] ?? "";
  const decrypter = new Decrypter();
  for (const identity of fields.get("identity") ?? []) decrypter.addIdentity(identity);
  for (const passphrase of fields.get("passphrase") ?? []) decrypter.addPassphrase(passphrase);
  let opened: Buffer | undefined;
  let said = "";
  try {
    const plain = fields.has("compressed") ? inflateSync(body) : body;
    const bytes = fields.has("armored") ? armor.decode(plain.toString("latin1")) : plain;
    opened = Buffer.from(await decrypter.decrypt(bytes));
  } catch (error) {
    said = error instanceof Error ? error.message : String(error);
  }
  if (expected !== "success") return opened === undefined ? undefined : "was opened";
  if (opened === undefined) return `was not opened: ${said}`;
  const digest = createHash("sha256").update(opened).digest("hex");
  return digest === fields.get("payload")?.[0] ? undefined : "another content";
}
