// A witness (C2SP tlog-witness): remembers of each log it knows the last head it cosigned, and cosigns a
// newer one only when a proof shows that the log has grown and nothing else. It sees heads, never records.
//
// Owns `<directory>/witness.db`. The comparison with what was cosigned last and the new entry are one
// transaction, durable before a cosignature is given out, also between processes on one folder.

import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type Checkpoint, CheckpointError, parseCheckpoint } from "../core/checkpoint.ts";
import { keysKnown } from "../core/log-shard.ts";
import { equalBytes } from "../core/merkle.ts";
import { NoteError, type NoteKey, parseNote, verifiedSigners } from "../core/note.ts";
import { verifyConsistency } from "../core/proof.ts";
import {
  type AddCheckpoint,
  parseAddCheckpoint,
  WitnessRequestError,
} from "../core/witness-request.ts";
import { nodeSha256 } from "./node-sha256.ts";
import type { SigningKey } from "./signing-key.ts";

export interface WitnessOptions {
  /** For its state; made when it is not there. */
  readonly directory: string;
  /** Its own: cosigners, types 0x04 and 0x06. Each signs. */
  readonly keys: readonly SigningKey[];
  /** Of the logs it knows; the name is the origin, `<log>/*` for all shards. A log may have several. */
  readonly logs: readonly NoteKey[];
  readonly nowMs: () => number;
}

export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422;
  readonly type: string;
  readonly body: string;
}

export interface Witness extends Disposable {
  /** `add-checkpoint`. */
  add(body: string): Promise<WitnessAnswer>;
  /** The last cosigned checkpoint of the log whose origin has this SHA-256 (hex). */
  latest(originHash: string): string | undefined;
}

const PLAIN = "text/plain; charset=utf-8";
const SIZE = "text/x.tlog.size";
const EMPTY_ROOT = nodeSha256(new Uint8Array(0));

export function openWitness(options: WitnessOptions): Witness {
  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const heads = openHeads(join(options.directory, "witness.db"));
  return {
    async add(body) {
      try {
        const request = parseAddCheckpoint(body);
        const checkpoint = await verified(request, options.logs);
        return heads.exclusively(() => cosign(request, checkpoint, options, heads));
      } catch (error) {
        if (error instanceof Refused) return error.answer;
        const isMalformed = [WitnessRequestError, NoteError, CheckpointError].some(
          (kind) => error instanceof kind,
        );
        if (isMalformed) return refused(400, (error as Error).message).answer;
        throw error;
      }
    },
    latest: (originHash) => heads.latest(originHash)?.note,
    [Symbol.dispose]: () => heads.close(),
  };
}

class Refused extends Error {
  readonly answer: WitnessAnswer;
  constructor(answer: WitnessAnswer) {
    super(answer.body);
    this.answer = answer;
  }
}

function refused(status: WitnessAnswer["status"], why: string): Refused {
  return new Refused({ status, type: PLAIN, body: `${why}\n` });
}

/** The checkpoint, signed by a key of its log. */
async function verified(request: AddCheckpoint, logs: readonly NoteKey[]): Promise<Checkpoint> {
  const bytes = Buffer.from(request.checkpoint, "utf8");
  const origin = parseNote(bytes).text.split("\n", 1)[0]!;
  const keys = keysKnown(logs, origin);
  if (keys.length === 0) throw refused(404, "this log is not known here");
  const { text, signers } = await verifiedSigners(bytes, keys).catch((error: unknown) => {
    throw refused(403, error instanceof Error ? error.message : "the signature does not verify");
  });
  if (signers.length === 0) throw refused(403, "not signed by a key of this log");
  const checkpoint = parseCheckpoint(text);
  if (request.oldSize > checkpoint.size) {
    throw refused(400, "the old size is larger than the checkpoint's");
  }
  return checkpoint;
}

function cosign(
  request: AddCheckpoint,
  checkpoint: Checkpoint,
  { keys, nowMs }: WitnessOptions,
  heads: Heads,
): WitnessAnswer {
  const { origin, size, root } = checkpoint;
  const known = heads.latest(hashOf(origin)) ?? { size: 0, root: EMPTY_ROOT };
  if (known.size !== request.oldSize) {
    return { status: 409, type: SIZE, body: `${known.size}\n` };
  }
  if (size === 0 && !equalBytes(root, EMPTY_ROOT)) {
    throw refused(422, "an empty log has another root");
  }
  const isGrown =
    request.oldSize === 0 && size !== 0
      ? request.proof.length === 0
      : verifyConsistency(nodeSha256, known.size, known.root, size, root, request.proof);
  if (!isGrown) throw refused(422, "the proof does not lead from the last checkpoint to this one");
  const { text } = parseNote(Buffer.from(request.checkpoint, "utf8"));
  const lines = keys.map((key) => key.line(text, nowMs() / 1000)).join("");
  heads.put({ origin, size, root, note: request.checkpoint + lines });
  return { status: 200, type: PLAIN, body: lines };
}

interface Heads {
  exclusively<T>(action: () => T): T;
  latest(originHash: string): { size: number; root: Uint8Array; note: string } | undefined;
  put(head: { origin: string; size: number; root: Uint8Array; note: string }): void;
  close(): void;
}

function openHeads(path: string): Heads {
  const database = new DatabaseSync(path, { timeout: 5_000 });
  database.exec("pragma journal_mode = wal; pragma synchronous = full");
  database.exec(
    "create table if not exists heads (id text primary key, origin text not null, " +
      "size integer not null, root blob not null, note text not null) strict, without rowid",
  );
  const select = database.prepare("select size, root, note from heads where id = ?");
  const replace = database.prepare(
    "insert or replace into heads (id, origin, size, root, note) values (?, ?, ?, ?, ?)",
  );
  return {
    exclusively(action) {
      database.exec("begin immediate");
      try {
        const result = action();
        database.exec("commit");
        return result;
      } catch (error) {
        database.exec("rollback");
        throw error;
      }
    },
    latest(originHash) {
      const row = select.get(originHash);
      if (row === undefined) return undefined;
      return { size: Number(row.size), root: row.root as Uint8Array, note: String(row.note) };
    },
    put: ({ origin, size, root, note }) => {
      replace.run(hashOf(origin), origin, size, root, note);
    },
    close: () => database.close(),
  };
}

function hashOf(origin: string): string {
  return createHash("sha256").update(origin, "utf8").digest("hex");
}
