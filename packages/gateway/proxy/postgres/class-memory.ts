// Which columns had a class, kept across restarts: a column keeps its class when it, its table or its schema
// is renamed while the gateway is not running, as it does while it runs (catalogue-resolve.ts). One small file
// a database, in the data folder; written by whatever process builds a catalogue, whole, by rename.
//
// What the operator takes out of the configuration is forgotten: an entry counts while `classify` has it.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { GatewayError } from "../../base/errors.ts";

const remembered = z.strictObject({
  oid: z.int(),
  attribute: z.int(),
  class: z.string(),
  /** The entry of `classify` it comes from: `public.customers.email`. */
  entry: z.string(),
});

const file = z.strictObject({
  target: z.string(),
  database: z.string(),
  columns: z.array(remembered),
});

export type RememberedClass = z.output<typeof remembered>;

export interface ClassMemory {
  /** Throws GatewayError "configuration" when what is kept cannot be read. */
  recall(target: string, database: string): readonly RememberedClass[];
  keep(target: string, database: string, columns: readonly RememberedClass[]): void;
}

export function openClassMemory(folder: string, processId: number): ClassMemory {
  const pathOf = (target: string, database: string) => {
    const name = createHash("sha256")
      .update(JSON.stringify([target, database]))
      .digest("hex");
    return join(folder, `${name.slice(0, 32)}.json`);
  };
  const written = new Map<string, string>();
  return {
    recall(target, database) {
      const path = pathOf(target, database);
      try {
        return file.parse(JSON.parse(readFileSync(path, "utf8"))).columns;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw new GatewayError("configuration", `${path} cannot be read`, {
          hint: "it keeps classes of renamed columns; take it away once `classify` is right",
          cause,
        });
      }
    },
    keep(target, database, columns) {
      const path = pathOf(target, database);
      const text = JSON.stringify({ target, database, columns });
      if (written.get(path) === text) return;
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const draft = `${path}.${processId}`;
      writeFileSync(draft, text, { mode: 0o600 });
      renameSync(draft, path);
      written.set(path, text);
    },
  };
}
