// Sealed recordings in stock age and zstd, casts in stock asciinema.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toAsciicast } from "@custody/evidence/core/asciicast.ts";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import { writeSealedRecording } from "@custody/evidence/node/sealed-recording.ts";
import { has, report, skip } from "./report.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");

/** Long enough for several frames of zstd and chunks of age. */
function* events(): Generator<RecordingEvent> {
  const about = { request: "r-1", channel: 0 } as const;
  yield { t: 0, kind: "start", data: { target: "web1" } };
  yield { t: 1, kind: "command", request: "r-1", bytes: "" };
  yield { t: 1, kind: "terminal", ...about, columns: 80, rows: 24, name: "xterm" };
  for (let line = 0; line < 20_000; line++) {
    const bytes = base64(`line ${line} \u00fc\r\n`);
    yield { t: 2 + Math.floor(line / 1000), kind: "data", ...about, stream: "stdout", bytes };
  }
  yield { t: 30, kind: "exit", ...about, code: 0 };
  yield { t: 31, kind: "end" };
}

async function* awaited(): AsyncGenerator<RecordingEvent> {
  yield* events();
}

export async function openWithStockTools(directory: string): Promise<void> {
  if (!has("age", "--version")) skip("stock age", "age is not on the path");
  else if (!has("zstd", "--version")) skip("stock zstd", "zstd is not on the path");
  else await openSealed(directory);
  if (!has("asciinema", "--version") || !has("script", "--version"))
    skip("stock asciinema", "asciinema or script(1) is not on the path");
  else await playCast(directory);
}

async function openSealed(directory: string): Promise<void> {
  const identity = join(directory, "identity");
  const made = spawnSync("age-keygen", ["-o", identity], { encoding: "utf8" });
  const recipient = /age1[a-z0-9]+/.exec(made.stderr + readFileSync(identity, "utf8"))?.[0] ?? "";
  const sealed = join(directory, "sealed.age");
  await writeSealedRecording(sealed, awaited(), [recipient]);
  const opened = spawnSync("age", ["-d", "-i", identity, sealed], { maxBuffer: 64 << 20 });
  report("stock age opens a sealed recording", opened.status === 0, String(opened.stderr));
  const plain = spawnSync("zstd", ["-d", "-c"], { input: opened.stdout, maxBuffer: 64 << 20 });
  const lines = [...events()].map((event) => `${JSON.stringify(event)}\n`).join("");
  const isSame = plain.status === 0 && plain.stdout.equals(Buffer.from(lines));
  report(`stock zstd gives its ${lines.length} bytes of events`, isSame, String(plain.stderr));
  const tested = spawnSync("zstd", ["-t"], { input: opened.stdout });
  report("zstd -t finds nothing wrong in it", tested.status === 0, String(tested.stderr));
  const bytes = readFileSync(sealed);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(sealed, bytes);
  const refused = spawnSync("age", ["-d", "-i", identity, sealed], { maxBuffer: 64 << 20 });
  report("stock age refuses it with one bit changed", refused.status !== 0);
}

/** Debian's asciinema is of the second format's time; the third differs in times and header only. */
async function playCast(directory: string): Promise<void> {
  const cast = join(directory, "session.cast");
  let text = "";
  for await (const line of toAsciicast(awaited(), { version: 2 })) text += line;
  writeFileSync(cast, text);
  // It wants a terminal, which script(1) is; a terminal adds carriage returns of its own.
  const played = spawnSync("script", ["-qec", `asciinema cat ${cast}`, "/dev/null"], {
    encoding: "utf8",
    maxBuffer: 64 << 20,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  const expected = Array.from({ length: 20_000 }, (_, line) => `line ${line} \u00fc\n`).join("");
  const isSame = played.status === 0 && played.stdout.replaceAll("\r", "") === expected;
  report("stock asciinema plays a terminal's cast (format 2)", isSame, played.stderr);
}
