// Heads of the log kept where the gateway's administrator has no say: copies in a folder (a mount that only
// grows, somebody else's machine) or a bucket with object lock, one file a head, never written over, with a
// time stamp of an authority beside it where one is configured. Who restores an old state of this log cannot
// take them back, and a gateway whose anchors are ahead of it is not started.
//
// Owns what it wrote there and never deletes it. Runs beside the control side, one round at a time.

import { hash } from "node:crypto";
import { constants } from "node:fs";
import { link, mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Checkpoint, parseCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import { NoteError } from "@custody/evidence/core/note.ts";
import { GatewayError } from "../base/errors.ts";
import type { RandomBytes } from "../base/ids.ts";
import { syncDirectory } from "./journal-files.ts";
import { aheadOfUs } from "./log-head.ts";
import type { LogKey } from "./log-key.ts";
import { expectedHeads, type LogFolder, publishedHeads, type ShardHead } from "./log-shards.ts";
import type { Outbound } from "./outbound.ts";
import { checkTimeStamp, TIME_STAMP_QUERY_TYPE, timeStampRequest } from "./time-stamp.ts";

export interface AnchorStore {
  /** For messages. */
  readonly name: string;
  /** Durable on return. "exists": something else is there under this name, and stays. */
  put(name: string, bytes: Uint8Array): Promise<"written" | "exists">;
  read(name: string): Promise<Buffer | undefined>;
  /** The first name after this one in the order of characters, of those with this begin. */
  after(name: string, begin: string): Promise<string | undefined>;
}

export interface AnchoringDeps extends LogFolder {
  readonly stores: readonly AnchorStore[];
  readonly timeStamps: { readonly url: string; readonly outbound: Outbound } | undefined;
  readonly random: RandomBytes;
  readonly everyMs: number;
  readonly onProblem: (message: string) => void;
  /** Another head of the same size, signed with this log's key, was anchored. */
  readonly onFork: (error: GatewayError) => void;
}

export interface Anchoring extends AsyncDisposable {
  /** Records in the head that is in all stores. */
  readonly anchoredSize: number;
  round(): Promise<void>;
}

/** Before anything is published: throws GatewayError "evidence_unavailable" when anchors are ahead. */
export async function refuseIfAnchoredAhead(deps: AnchoringDeps): Promise<void> {
  for (const { key, published } of expectedHeads(deps)) {
    const size = published?.checkpoint.size ?? 0;
    for (const store of deps.stores) {
      const theirs = await firstOwnAfter(store, key, size).catch((error: unknown) => {
        deps.onProblem(`the anchors in ${store.name} cannot be read: ${messageOf(error)}`);
        return undefined;
      });
      if (theirs !== undefined) throw aheadOfUs(`an anchor in ${store.name}`, theirs.size, size);
    }
  }
}

/** What others put there under our name is passed over. */
async function firstOwnAfter(
  store: AnchorStore,
  key: LogKey,
  size: number,
): Promise<Checkpoint | undefined> {
  let name: string | undefined = nameOf(key, size);
  for (let looked = 0; looked < MAX_LOOKED_AT; looked++) {
    name = await store.after(name, beginOf(key));
    if (name === undefined) return undefined;
    const note = (await store.read(name))?.toString("utf8");
    if (note !== undefined && isOwn(key, note)) return checkpointOf(note);
  }
  throw new GatewayError("evidence_unavailable", "too much there is not this log's");
}

function isOwn(key: LogKey, note: string): boolean {
  try {
    return key.isOwn(note);
  } catch (error) {
    if (error instanceof NoteError) return false;
    throw error;
  }
}

export function startAnchoring(deps: AnchoringDeps): Anchoring {
  let anchored = 0;
  /** By shard: the size of the head that is in all stores. */
  const sizes = new Map<string, number>();
  let running: Promise<void> | undefined;
  const anchor = async (head: ShardHead): Promise<void> => {
    const { key, name: shard, before, published } = head;
    if (published === undefined) return;
    const { size } = published.checkpoint;
    if (size !== sizes.get(shard)) {
      const name = nameOf(key, size);
      const note = await withCosignatures(head.directory, published.note);
      for (const store of deps.stores) {
        await putHead(deps, store, { key, name, note });
        if (deps.timeStamps !== undefined) await stamp(deps, deps.timeStamps, store, name);
      }
      sizes.set(shard, size);
    }
    anchored = before + size;
  };
  // The last head of a shard before any of the next.
  const round = async (): Promise<void> => {
    for (const head of publishedHeads(deps)) await anchor(head);
  };
  const once = (): Promise<void> => {
    running ??= round()
      .catch((error: unknown) => deps.onProblem(`anchoring failed: ${messageOf(error)}`))
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const timer = setInterval(() => void once(), deps.everyMs);
  timer.unref();
  return {
    get anchoredSize() {
      return anchored;
    },
    round: once,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
      // The last head before a stop is the one that a restored backup is held against.
      await once();
    },
  };
}

/** A folder: files appear whole and are never replaced. */
export function folderAnchors(directory: string): AnchorStore {
  return {
    name: directory,
    async put(name, bytes) {
      await mkdir(directory, { recursive: true });
      const staged = join(directory, `.${name}.new`);
      await rm(staged, { force: true });
      const file = await open(
        staged,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
        0o444,
      );
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      try {
        // A link, not a rename: it fails where something is.
        await link(staged, join(directory, name));
        return "written";
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
        return "exists";
      } finally {
        await rm(staged, { force: true });
        syncDirectory(directory);
      }
    },
    read: (name) => orNone(readFile(join(directory, name))),
    async after(name, begin) {
      const names = (await orNone(readdir(directory))) ?? [];
      return names
        .filter((one) => one.startsWith(begin) && one.endsWith(HEAD_END) && one > name)
        .sort()[0];
    },
  };
}

const MAX_LOOKED_AT = 1000;
/** How the names of heads end. */
export const HEAD_END = ".checkpoint";

/** Of the log; its origin may hold anything but spaces and plus signs. */
function beginOf({ origin }: LogKey): string {
  return `${origin.replaceAll(/[^A-Za-z0-9.-]/g, "_")}.`;
}

/** Sizes with leading zeroes, so that the order of names is theirs. */
function nameOf(key: LogKey, size: number): string {
  return `${beginOf(key)}${String(size).padStart(16, "0")}${HEAD_END}`;
}

async function putHead(
  deps: AnchoringDeps,
  store: AnchorStore,
  { key, name, note }: { readonly key: LogKey; readonly name: string; readonly note: string },
): Promise<void> {
  if ((await store.put(name, Buffer.from(note, "utf8"))) === "written") return;
  const there = (await store.read(name))?.toString("utf8") ?? "";
  // The same head with other cosignatures is the same head.
  if (checkpointText(there) === checkpointText(note)) return;
  if (isOwn(key, there)) deps.onFork(aheadOfUs(`an anchor in ${store.name}`, undefined, undefined));
  else deps.onProblem(`${name} in ${store.name} is not this log's head`);
}

async function stamp(
  deps: AnchoringDeps,
  { url, outbound }: NonNullable<AnchoringDeps["timeStamps"]>,
  store: AnchorStore,
  name: string,
): Promise<void> {
  if ((await store.read(`${name}.tsr`)) !== undefined) return;
  // Over the bytes that lie there, which may have other cosignatures than ours by now.
  const digest = hash("sha256", (await store.read(name)) ?? "", "buffer");
  const nonce = deps.random(16);
  const { status, body } = await outbound.send({
    url,
    method: "POST",
    body: timeStampRequest(digest, nonce),
    headers: { "content-type": TIME_STAMP_QUERY_TYPE },
  });
  if (status !== 200) {
    const said = `the time stamp authority answered ${status}`;
    throw new GatewayError("dependency_unavailable", said);
  }
  checkTimeStamp(body, digest, nonce);
  await store.put(`${name}.tsr`, body);
}

/** The cosigned head when it is the published one. */
async function withCosignatures(directory: string, published: string): Promise<string> {
  const cosigned = await orNone(readFile(join(directory, "cosigned"), "utf8"));
  const isSame = cosigned !== undefined && checkpointText(cosigned) === checkpointText(published);
  return isSame ? cosigned : published;
}

function checkpointOf(note: string): Checkpoint {
  return parseCheckpoint(checkpointText(note));
}

function checkpointText(note: string): string {
  return note.slice(0, note.indexOf("\n\n") + 1);
}

async function orNone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
