// What a logical replication stream is about: CopyData of a walsender ("Streaming Replication Protocol", XLogData)
// with messages of pgoutput in it ("Logical Replication Message Formats", protocol versions 1 to 4). Read as far
// as which relation, with which columns, rows are of; the rows themselves are nobody's here. What is no message of
// pgoutput, as another plugin sends it, is refused.

import { WireError } from "./errors.ts";
import { FieldReader } from "./fields.ts";
import { FRAME_HEADER_BYTES } from "./frames.ts";

export interface StreamedRelation {
  readonly kind: "relation";
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly string[];
}

export type Streamed =
  | StreamedRelation
  /** Insert, Update, Delete, Truncate. */
  | { readonly kind: "rows"; readonly oids: readonly number[] }
  /** What pg_logical_emit_message() was given. */
  | { readonly kind: "message" }
  /** Transactions, origins, types: nothing of a row. */
  | { readonly kind: "other" };

export interface PgoutputReader {
  /** buffer[start,end) is a CopyData of the server's. Throws WireError. */
  read(buffer: Buffer, start: number, end: number): Streamed;
}

/** One a stream: between Stream Start and Stream Stop messages have the transaction in front. */
export function createPgoutputReader(): PgoutputReader {
  let inTransactionBlock = false;
  return {
    read(buffer, start, end) {
      const fields = new FieldReader(buffer, start + FRAME_HEADER_BYTES, end);
      const kind = fields.byte();
      if (kind === KEEPALIVE) {
        fields.bytes(KEEPALIVE_BYTES);
        fields.done();
        return OTHER;
      }
      if (kind !== XLOG_DATA) throw new WireError("type", "neither XLogData nor a keepalive");
      fields.bytes(XLOG_HEADER_BYTES);
      const type = String.fromCharCode(fields.byte());
      if (type === "S" || type === "E") {
        inTransactionBlock = type === "S";
        fields.bytes(type === "S" ? STREAM_START_BYTES : 0);
        fields.done();
        return OTHER;
      }
      if (inTransactionBlock && IN_BLOCK.has(type)) fields.bytes(4);
      return message(type, fields);
    },
  };
}

function message(type: string, fields: FieldReader): Streamed {
  switch (type) {
    case "R":
      return relation(fields);
    case "I":
    case "U":
    case "D":
      return { kind: "rows", oids: [fields.uint32()] };
    case "T": {
      const count = fields.count(fields.uint32(), 4);
      fields.byte();
      return { kind: "rows", oids: Array.from({ length: count }, () => fields.uint32()) };
    }
    case "M":
      return { kind: "message" };
    default: {
      const sizes = CONTROL.get(type);
      const left = fields.end - fields.at;
      if (sizes === undefined || !(sizes === "any" || sizes.includes(left)))
        throw new WireError("type", "no message of pgoutput");
      return OTHER;
    }
  }
}

function relation(fields: FieldReader): StreamedRelation {
  const oid = fields.uint32();
  const schema = fields.text();
  const name = fields.text();
  fields.byte();
  const count = fields.count(fields.uint16(), RELATION_COLUMN_BYTES);
  const columns: string[] = [];
  for (let index = 0; index < count; index++) {
    fields.byte();
    columns.push(fields.text());
    fields.bytes(8);
  }
  fields.done();
  return { kind: "relation", oid, schema, name, columns };
}

const OTHER: Streamed = { kind: "other" };
const XLOG_DATA = 0x77;
const KEEPALIVE = 0x6b;
/** End of the log, the server's clock, whether a reply is wanted. */
const KEEPALIVE_BYTES = 17;
/** Start, end, the server's clock. */
const XLOG_HEADER_BYTES = 24;
const STREAM_START_BYTES = 5;
/** Flags, a name of its NUL at least, type and modifier. */
const RELATION_COLUMN_BYTES = 10;
/** These name the transaction they are of inside a block. */
const IN_BLOCK = new Set(["R", "Y", "I", "U", "D", "T", "M"]);
/** How long they are behind their letter; "any": there is a name in it, of a type, origin or prepared transaction. */
const CONTROL = new Map<string, readonly number[] | "any">([
  ["B", [20]],
  ["C", [25]],
  ["c", [29]],
  ["A", [8, 24]],
  ["O", "any"],
  ["Y", "any"],
  ["b", "any"],
  ["P", "any"],
  ["K", "any"],
  ["r", "any"],
  ["p", "any"],
]);
