// What is known of a program's arguments, as data: which options there are and what their values and
// operands are for. A grammar is a list of what is understood; what is not on it is an unknown use and
// refused. The shipped ones are grammars/*.yaml; operators add their own in the same form.
//
// Options are written exactly: an abbreviation of a long option is another word and unknown. Options may
// be bundled (-xzf) and values attached (-ofile, --output=file), as getopt_long takes them.

import { z } from "zod";

/** What a value of an option is for. With a ? at the end it is optional, and attached where it is given. */
export const VALUES = [
  /** Nothing a policy would ask about. */
  "text",
  /** Text that is no path and no option: a unit, a package. */
  "name",
  "read",
  "write",
  /** Read and written, or one of the two. */
  "readwrite",
  /** A file to read where it starts with @ (curl). */
  "at",
  /** Where relative paths start from. */
  "chdir",
  /** A line for a shell: read and decided as one, and sent in its canonical form. */
  "line",
  /** What a program will run and nobody here reads: makes the effect one of exec_code. */
  "code",
  /** A sed script: read; what it may not contain makes it code. */
  "sed",
  "user",
  "host",
  /** A repository of git by name, path or address; helpers (ext::) are refused. */
  "remote",
  /** A path, or host:path for a copy to or from elsewhere, without what that host's shell would act on. */
  "copy",
  /** http or https; anything else is refused. */
  "url",
  /** NAME=value for the command that is started. */
  "assignment",
  /** What stands for words of the input in the command that is started (xargs -I). */
  "placeholder",
] as const;

export type Value = (typeof VALUES)[number];

/** What operands are for: a value, or one of these, which take all that is left. */
export const TAILS = [
  /** A program and its words. */
  "command",
  /** Words that are joined with blanks and read by a shell. */
  "line-words",
] as const;

/** What may follow a name of an expression, besides values. */
export const CLAUSES = [
  /** A command up to ; or {} +, where {} stands for a path below the operands. */
  "command;",
  /** Nothing follows; the operands and what is below them are removed. */
  "removes",
] as const;

export type Clause = (typeof CLAUSES)[number];

export type Tail = (typeof TAILS)[number];

const value = z.enum(VALUES);
const optionValue = z.union([z.literal("flag"), value, z.templateLiteral([value, z.literal("?")])]);

const optionRule = z.strictObject({
  takes: optionValue,
  /** The value must match; anchored. */
  matches: z.string().max(500).optional(),
  /** Instead of `takes`, where one of these options is there too. */
  with: z.record(z.string(), optionValue).optional(),
  /** Paths are touched that are not named (backups): where it is given, or where it has a value. */
  otherPaths: z.enum(["given", "valued"]).optional(),
});

const option = z.union([optionValue, optionRule]);

/** `read`, `read?` (may be missing), `read...` (any number), a tail, or a tail that may be missing. */
const operand = z.union([
  value,
  z.templateLiteral([value, z.literal("?")]),
  z.templateLiteral([value, z.literal("...")]),
  z.enum(TAILS),
  z.templateLiteral([z.enum(TAILS), z.literal("?")]),
]);

const optionNames = z
  .string()
  .regex(/^-[^\s=]*( -[^\s=]+)*$/, "expected option names, separated by one blank: -o --output");

const uses = {
  options: z.record(optionNames, option).default({}),
  operands: z.array(operand).default([]),
  /** Operands where all of the options `has` are there, by their first names; the first that fits. */
  when: z
    .array(z.strictObject({ has: z.array(z.string()).min(1), operands: z.array(operand) }))
    .default([]),
  /** Options may follow operands (GNU); without, the first operand ends them. */
  permute: z.boolean().default(true),
  /** No option of it runs a program or writes a file: words of the input may follow wherever they end up. */
  harmless: z.boolean().default(false),
  /** Harmless, and an option that is not listed is taken for a flag; then its paths are not known. */
  lenient: z.boolean().default(false),
  /** Whatever it is given, it runs what nobody here reads: the effect is one of exec_code. */
  opaque: z.boolean().default(false),
  /** Exact words that are harmless whatever else the grammar says: [["--version"]]. */
  exactly: z.array(z.array(z.string())).default([]),
  /** The first word may be options without their dash: tar xzf. */
  bundle: z.boolean().default(false),
  /** Words with + are options as well, and - and -- have a meaning of their own: shells. None are taken. */
  shell: z.boolean().default(false),
  /** Behind the operands no options but an expression, as find has: names with what follows each. */
  expression: z.record(z.string(), z.array(z.enum([...VALUES, ...CLAUSES])).max(4)).optional(),
  /** Its words are those of test and [. */
  test: z.boolean().default(false),
  /** Operands are name=value: dd. */
  assignments: z.record(z.string(), value).optional(),
  /** Options that are not understood beside each other, by their first names. */
  apart: z.array(z.array(z.string()).min(2)).default([]),
  /**
   * The folder it works in can make it run programs (git's configuration), so where the line chooses the
   * folder, it runs code.
   */
  heedsFolder: z.boolean().default(false),
  /** Words of its input are put behind the command it starts, unless a placeholder says where: xargs. */
  appends: z.boolean().default(false),
  /** Who runs the command it starts, where no option says so. */
  user: z.string().optional(),
  /** Paths of what it does are not those of its words: an archive is unpacked, a tree is copied. */
  otherPaths: z.boolean().default(false),
};

const subUse = z.strictObject({
  ...uses,
  /** What is not listed in `subcommands`. */
  otherwise: z.enum(["refuse", "opaque"]).default("refuse"),
});

const use = z.strictObject({
  ...uses,
  /** The first operand picks one of these, after the options before it. */
  subcommands: z.record(z.string(), subUse).optional(),
  otherwise: z.enum(["refuse", "opaque"]).default("refuse"),
  /** The first word, exactly, picks one of these: rsync --server. */
  first: z.record(z.string(), subUse).optional(),
});

export const grammarFile = z.strictObject({
  programs: z.record(z.string().regex(/^[^\s,/]+(, [^\s,/]+)*$/), use).default({}),
  /** Programs of which every use is `opaque`. */
  opaque: z.array(z.string()).default([]),
  /** Builtins of a shell that change what follows, or run text: refused. */
  builtins: z.array(z.string()).default([]),
  /** Variables that may be set for a command, with what their values must match; anchored. */
  environment: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).default({}),
  /** Where a program may be named by its path and still be the program of that name. */
  directories: z.array(z.string().regex(/^(\/[A-Za-z0-9._-]+)+$/)).default([]),
});

export type GrammarFile = z.infer<typeof grammarFile>;
export type Use = z.infer<typeof use>;
export type SubUse = z.infer<typeof subUse>;
export type OptionValue = z.infer<typeof optionValue>;
export type Operand = z.infer<typeof operand>;

/** An option as it is looked up. */
export interface Option {
  /** Its first name, by which `with` and `when` know it. */
  readonly name: string;
  readonly takes: "flag" | Value;
  /** The value may be missing, and is attached where it is not. */
  readonly optional: boolean;
  readonly matches: RegExp | undefined;
  readonly with: ReadonlyMap<string, Value | "flag">;
  readonly otherPaths: "given" | "valued" | undefined;
}

/** A use with its options by each of their names. */
export interface Grammar extends Omit<Use, "options" | "subcommands" | "first"> {
  readonly options: ReadonlyMap<string, Option>;
  readonly subcommands: ReadonlyMap<string, Grammar> | undefined;
  readonly first: ReadonlyMap<string, Grammar> | undefined;
}

/** A program of which nothing is known but that it runs code. */
export const OPAQUE: Grammar = prepareUse(use.parse({ opaque: true }));

export function prepareUse(use: Use | SubUse): Grammar {
  const subcommands = "subcommands" in use ? use.subcommands : undefined;
  const first = "first" in use ? use.first : undefined;
  return {
    ...use,
    harmless: use.harmless || use.lenient,
    options: prepareOptions(use.options),
    subcommands: subcommands === undefined ? undefined : prepareAll(subcommands),
    // What follows a command's name is its own, options too.
    permute: use.permute && !hasTail(use),
    first: first === undefined ? undefined : prepareAll(first),
  };
}

/** Names may be several: `status, show`. */
function prepareAll(uses: Readonly<Record<string, SubUse>>): ReadonlyMap<string, Grammar> {
  return new Map(
    Object.entries(uses).flatMap(([names, sub]) => {
      const grammar = prepareUse(sub);
      return names.split(", ").map((name) => [name, grammar] as const);
    }),
  );
}

function hasTail(use: Use | SubUse): boolean {
  const lists = [use.operands, ...use.when.map(({ operands }) => operands)];
  return lists.some((list) => list.some((one) => /^(command|line-words)/.test(one)));
}

function prepareOptions(options: Use["options"]): ReadonlyMap<string, Option> {
  const found = new Map<string, Option>();
  for (const [names, rule] of Object.entries(options)) {
    const {
      takes,
      matches,
      with: others,
      otherPaths,
    } = typeof rule === "string" ? { ...NO_RULE, takes: rule } : rule;
    const [name = ""] = names.split(" ");
    const prepared: Option = {
      name,
      takes: plain(takes),
      optional: takes.endsWith("?"),
      matches: matches === undefined ? undefined : new RegExp(`^(?:${matches})$`, "u"),
      otherPaths,
      with: new Map(Object.entries(others ?? {}).map(([key, one]) => [key, plain(one)])),
    };
    for (const one of names.split(" ")) found.set(one, prepared);
  }
  return found;
}

const NO_RULE = { matches: undefined, with: undefined, otherPaths: undefined };

function plain(takes: OptionValue): Value | "flag" {
  return takes.replace("?", "") as Value | "flag";
}
