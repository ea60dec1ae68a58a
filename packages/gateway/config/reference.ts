// Makes docs/reference/configuration.md from schema.ts and limits.ts.
//
//   node packages/gateway/config/reference.ts [--check]
//
// With --check nothing is written; the exit code is 1 when the page is not up to date.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { z } from "zod";

import { LIMITS } from "./limits.ts";
import { configSchema } from "./schema.ts";
import { defaultOf, descriptionOf, isOptional, written } from "./shape.ts";
import { formatDuration, formatSize } from "./units.ts";

const PAGE = join(import.meta.dirname, "../../../docs/reference/configuration.md");

const INTRODUCTION = `<!-- Made by packages/gateway/config/reference.ts; edit schema.ts and limits.ts instead. -->

# custody.yaml

One file and a folder of \`.cedar\` policies are all the configuration there is. \`custody init\` writes a
commented starter, \`custody check\` validates without starting anything, and a running gateway reads
both again when they change or on SIGHUP. An invalid set is refused whole, with every problem's file,
line and column, and the running one stays.

- Unknown keys are errors.
- Relative paths start at the folder of the file.
- Names of providers, targets, accounts and tags are lower-case letters, digits and dashes.
- A secret is never written here, only where it is:

| reference | the secret is |
|---|---|
| \`env:NAME\` | the environment variable of the gateway |
| \`file:PATH\` | the file's content, without one closing line break; refused when every user may read it |
| \`exec:PROGRAM ARGUMENTS\` | what the program prints; no shell, split at spaces (or \`{ exec: [program, argument] }\`) |
| \`sealed:…\` | in the reference itself, encrypted for this gateway: \`custody seal\` |

`;

export function configurationReference(): string {
  const rows: string[] = [];
  walk(configSchema, "", rows);
  const limits = Object.entries(LIMITS).map(([name, limit]) => {
    const format =
      limit.unit === "duration" ? formatDuration : limit.unit === "size" ? formatSize : String;
    const range = `${format(limit.min)} – ${format(limit.max)}`;
    return `| \`${name}\` | ${format(limit.value)} | ${range} | ${limit.doc} |`;
  });
  return [
    INTRODUCTION,
    "## Keys\n\n",
    "`<name>` stands for a name of your own, `[]` for each entry of a list.\n\n",
    "| key | value | default | |\n|---|---|---|---|\n",
    `${rows.join("\n")}\n\n`,
    "## Limits\n\n",
    "Below `limits`. Durations are written `500ms`, `30s`, `5m`, `12h`, `7d` or together, `1h30m`; ",
    "sizes `512B`, `64KiB`, `64MiB`, `1GiB`.\n\n",
    "| limit | default | from – to | |\n|---|---|---|---|\n",
    `${limits.join("\n")}\n`,
  ].join("");
}

function walk(schema: z.core.$ZodType, path: string, rows: string[]): void {
  const inner = written(schema);
  if (inner instanceof z.ZodObject && path !== "limits") {
    for (const [key, field] of Object.entries<z.core.$ZodType>(inner.def.shape)) {
      const fieldPath = path === "" ? key : `${path}.${key}`;
      rows.push(row(fieldPath, field));
      walk(field, fieldPath, rows);
    }
  } else if (inner instanceof z.ZodRecord) walk(inner.def.valueType, `${path}.<name>`, rows);
  else if (inner instanceof z.ZodArray) walk(inner.def.element, `${path}[]`, rows);
}

function row(path: string, schema: z.core.$ZodType): string {
  const value = defaultOf(schema);
  const shown =
    value === undefined ? (isOptional(schema) ? "" : "**required**") : showDefault(value);
  return `| \`${path}\` | ${kindOf(schema)} | ${shown} | ${descriptionOf(schema) ?? ""} |`;
}

function showDefault(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    if ("host" in value && "port" in value) return `\`${value.host}:${value.port}\``;
    if (Object.keys(value).length === 0) return Array.isArray(value) ? "none" : "";
    if (Array.isArray(value)) return value.map((entry) => `\`${entry}\``).join(", ");
  }
  return `\`${String(value)}\``;
}

function kindOf(schema: z.core.$ZodType): string {
  const inner = written(schema);
  if (inner instanceof z.ZodObject) return "keys";
  if (inner instanceof z.ZodRecord) return "names";
  if (inner instanceof z.ZodArray) return `list of ${kindOf(inner.def.element)}`;
  if (inner instanceof z.ZodEnum) return Object.values(inner.def.entries).join(" \\| ");
  if (inner instanceof z.ZodLiteral) return inner.def.values.join(" \\| ");
  if (inner instanceof z.ZodUnion)
    return [...new Set(inner.def.options.map((option) => kindOf(option)))].join(" \\| ");
  if (inner instanceof z.ZodNumber) return "number";
  if (inner instanceof z.ZodBoolean) return "true \\| false";
  return "text";
}

if (import.meta.main) {
  const page = configurationReference();
  if (!process.argv.includes("--check")) writeFileSync(PAGE, page);
  else if (readFileSync(PAGE, "utf8") !== page) {
    process.stderr.write(
      "docs/reference/configuration.md is not up to date: node packages/gateway/config/reference.ts\n",
    );
    process.exitCode = 1;
  }
}
