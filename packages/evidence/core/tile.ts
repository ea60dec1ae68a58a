// C2SP tlog-tiles: where a tile or a bundle of entries is, how wide it is in a tree of a given size, and
// what is in it.

import { HASH_BYTES, TILE_WIDTH } from "./merkle.ts";

export class TileError extends Error {
  override readonly name = "TileError";
}

export interface TileName {
  /** "entries" for a bundle of entries, which is as wide as its tile of level 0. */
  readonly level: number | "entries";
  readonly index: number;
  /** 1 to 256; 256 is a full one. */
  readonly width: number;
}

/** `tile/0/x001/067.p/5`, relative to the log. */
export function tilePath(name: TileName): string {
  const parts = [String(name.index % 1000).padStart(3, "0")];
  for (let rest = Math.floor(name.index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    parts.unshift(`x${String(rest % 1000).padStart(3, "0")}`);
  }
  const partial = name.width === TILE_WIDTH ? "" : `.p/${name.width}`;
  return `tile/${name.level}/${parts.join("/")}${partial}`;
}

/** undefined for everything `tilePath` does not give. */
export function parseTilePath(path: string): TileName | undefined {
  const match =
    /^tile\/(entries|[0-9]|[1-5][0-9]|6[0-3])\/((?:x[0-9]{3}\/){0,4}[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/.exec(
      path,
    );
  if (match === null) return undefined;
  const index = Number(match[2]!.replace(/[x/]/g, ""));
  const width = match[3] === undefined ? TILE_WIDTH : Number(match[3]);
  const level = match[1] === "entries" ? "entries" : Number(match[1]);
  const name: TileName = { level, index, width };
  return tilePath(name) === path ? name : undefined;
}

/** Splits a tile's bytes. Throws TileError when they are not exactly `width` hashes. */
export function tileHashes(bytes: Uint8Array, width: number): Uint8Array[] {
  if (bytes.length !== width * HASH_BYTES) {
    throw new TileError(`${bytes.length} bytes where ${width * HASH_BYTES} are due`);
  }
  return Array.from({ length: width }, (_, at) =>
    bytes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  );
}

export function tileBytes(hashes: readonly Uint8Array[]): Uint8Array {
  return concat(hashes);
}

/** Entries with a big-endian 16-bit length before each. */
export function encodeBundle(entries: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    if (entry.length > 0xffff) throw new TileError(`an entry of ${entry.length} bytes`);
    parts.push(Uint8Array.of(entry.length >> 8, entry.length & 0xff), entry);
  }
  return concat(parts);
}

export interface Bundle {
  readonly entries: readonly Uint8Array[];
  /** What is wrong at the entry after the last of `entries`; undefined when all is well. */
  readonly problem: string | undefined;
  /** The bytes after the last of `entries`. */
  readonly rest: Uint8Array;
}

/** Splits a bundle of `width` entries as far as it goes. */
export function decodeBundle(bytes: Uint8Array, width: number): Bundle {
  const entries: Uint8Array[] = [];
  let at = 0;
  const result = (problem: string | undefined): Bundle => ({
    entries,
    problem,
    rest: bytes.subarray(at),
  });
  while (entries.length < width) {
    if (at === bytes.length) return result("the bundle ends before it");
    if (at + 2 > bytes.length) return result("its length is cut off");
    const end = at + 2 + ((bytes[at]! << 8) | bytes[at + 1]!);
    if (end > bytes.length) return result("it runs past the end of the bundle");
    entries.push(bytes.subarray(at + 2, end));
    at = end;
  }
  const left = bytes.length - at;
  return result(left === 0 ? undefined : `${left} bytes follow the last entry of the bundle`);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
