// Says when the configuration, a policy or a grammar has changed: by fs.watch on their folders (editors and
// orchestrators replace files rather than write into them), or at once by `poke`, which SIGHUP calls.
// It applies nothing; who listens loads the new set and keeps the old one when it is refused.
//
// Who owns the state: the object returned owns its watchers and timer.

import { createHash } from "node:crypto";
import { type FSWatcher, readdirSync, readFileSync, watch } from "node:fs";
import { dirname, join } from "node:path";

/** Long enough for a save that takes several writes. */
const SETTLE_MS = 250;
/** For file systems that report nothing, and folders that were replaced. */
const LOOK_EVERY_MS = 10_000;

export interface ConfigWatch extends Disposable {
  /** Reports a change now, whether there is one or not: SIGHUP. */
  poke(): void;
}

/**
 * `onChange` is called once a change has settled, and never while the content stays the same. `more`: other
 * files, as the configuration that runs names them.
 */
export function watchConfig(
  file: string,
  policiesDirectory: string,
  onChange: () => void,
  more: () => readonly string[] = () => [],
): ConfigWatch {
  const content = () => digest([file, ...more()], policiesDirectory);
  const folders = () => [...[file, ...more()].map((path) => dirname(path)), policiesDirectory];
  let seen = content();
  let settling: NodeJS.Timeout | undefined;
  let watchers: FSWatcher[] = [];

  const look = () => {
    settling = undefined;
    const now = content();
    if (now === seen) return;
    seen = now;
    // The folder itself may have been replaced, and a watcher follows the old one.
    watchers = rewatch(watchers, folders(), soon);
    onChange();
  };
  const soon = () => {
    settling ??= setTimeout(look, SETTLE_MS).unref();
  };
  watchers = rewatch(watchers, folders(), soon);
  const timer = setInterval(soon, LOOK_EVERY_MS).unref();

  return {
    poke: () => {
      seen = content();
      onChange();
    },
    [Symbol.dispose]: () => {
      clearInterval(timer);
      clearTimeout(settling);
      for (const watcher of watchers) watcher.close();
      watchers = [];
    },
  };
}

function rewatch(
  old: readonly FSWatcher[],
  folders: readonly string[],
  onEvent: () => void,
): FSWatcher[] {
  for (const watcher of old) watcher.close();
  const watchers: FSWatcher[] = [];
  for (const folder of new Set(folders))
    try {
      const watcher = watch(folder, { persistent: false }, onEvent);
      // The folder went away; the regular look finds its successor.
      watcher.on("error", onEvent);
      watchers.push(watcher);
    } catch {
      // The same.
    }
  return watchers;
}

function digest(files: readonly string[], policiesDirectory: string): string {
  const hash = createHash("sha256");
  for (const file of files) add(hash, file);
  let names: string[] = [];
  try {
    names = readdirSync(policiesDirectory).filter((name) => name.endsWith(".cedar"));
  } catch {
    hash.update("no policies");
  }
  for (const name of names.toSorted()) add(hash, join(policiesDirectory, name));
  return hash.digest("hex");
}

function add(hash: ReturnType<typeof createHash>, path: string): void {
  let content: Buffer | undefined;
  try {
    content = readFileSync(path);
  } catch {
    // A file that cannot be read is a state of its own.
  }
  hash.update(`${path}\0${content?.length ?? "none"}\0`);
  if (content) hash.update(content);
}
