// The grammars that are shipped, and operators' on top of them: a program that is described again is
// described by the later file alone; builtins, variables and directories add up.

import { readdirSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { GatewayError } from "../base/errors.ts";
import { type Grammar, type GrammarFile, grammarFile, OPAQUE, prepareUse } from "./grammar.ts";

export interface Grammars {
  readonly programs: ReadonlyMap<string, Grammar>;
  readonly builtins: ReadonlySet<string>;
  /** Name → what its value must match. */
  readonly environment: ReadonlyMap<string, RegExp>;
  readonly directories: ReadonlySet<string>;
}

export interface GrammarText {
  /** As messages name it. */
  readonly name: string;
  readonly text: string;
}

const SHIPPED = new URL("./grammars/", import.meta.url);

/** Reads the shipped files; once at start. Throws GatewayError "configuration" naming file and place. */
export function loadGrammars(extensions: readonly GrammarText[] = []): Grammars {
  const shipped = readdirSync(SHIPPED)
    .filter((name) => name.endsWith(".yaml"))
    .sort()
    .map((name) => ({ name, text: readFileSync(new URL(name, SHIPPED), "utf8") }));
  const programs = new Map<string, Grammar>();
  const builtins = new Set<string>();
  const environment = new Map<string, RegExp>();
  const directories = new Set<string>();
  for (const [index, one] of [...shipped, ...extensions].entries()) {
    const file = readGrammarFile(one);
    const add = (name: string, grammar: Grammar) => {
      // Two shipped descriptions of one program would depend on the order of their files.
      if (index < shipped.length && programs.has(name))
        throw new GatewayError("internal", `grammar ${one.name}: ${name} is described twice`);
      programs.set(name, grammar);
    };
    for (const name of file.opaque) add(name, OPAQUE);
    for (const [names, use] of Object.entries(file.programs)) {
      const grammar = prepared(one.name, names, use);
      for (const name of names.split(", ")) add(name, grammar);
    }
    for (const name of file.builtins) builtins.add(name);
    for (const [name, form] of Object.entries(file.environment))
      environment.set(name, expression(one.name, name, form));
    for (const path of file.directories) directories.add(path);
  }
  return { programs, builtins, environment, directories };
}

/**
 * The grammars of whatever files `extensions` gives at the time: what a reload of the configuration replaces.
 * One reading of a command is of one set, since it waits for nothing.
 */
export function createLiveGrammars(extensions: () => readonly GrammarText[]): Grammars {
  let texts = extensions();
  let loaded = loadGrammars(texts);
  const current = (): Grammars => {
    const now = extensions();
    if (now === texts) return loaded;
    if (JSON.stringify(now) !== JSON.stringify(texts)) loaded = loadGrammars(now);
    texts = now;
    return loaded;
  };
  return {
    get programs() {
      return current().programs;
    },
    get builtins() {
      return current().builtins;
    },
    get environment() {
      return current().environment;
    },
    get directories() {
      return current().directories;
    },
  };
}

function readGrammarFile({ name, text }: GrammarText): GrammarFile {
  try {
    return grammarFile.parse(parse(text));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new GatewayError("configuration", `grammar ${name}: ${why}`, { cause });
  }
}

function expression(file: string, name: string, form: string): RegExp {
  try {
    return new RegExp(`^(?:${form})$`, "u");
  } catch (cause) {
    throw new GatewayError("configuration", `grammar ${file}: ${name}: ${String(cause)}`, {
      cause,
    });
  }
}

function prepared(file: string, names: string, use: GrammarFile["programs"][string]): Grammar {
  try {
    return prepareUse(use);
  } catch (cause) {
    throw new GatewayError("configuration", `grammar ${file}: ${names}: ${String(cause)}`, {
      cause,
    });
  }
}
