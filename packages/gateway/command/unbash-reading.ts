// The second witness of a line: unbash, a parser of the whole bash language. Its tree is taken only where
// it has no other node than words that are literal, assignments, redirections, pipelines and lists;
// anything else is refused here as well, by a list of what is allowed and not of what is not.

import {
  type Assignment as AssignmentNode,
  type CommandArgument,
  type Command as CommandNode,
  type ParsedScript,
  type PipelineNode,
  parse,
  type Redirection,
  type Statement,
  type Word,
} from "unbash";
import {
  type AndOr,
  type Assignment,
  accept,
  type Pipeline,
  type Redirect,
  type Result,
  refuse,
  type Script,
  type SimpleCommand,
} from "./script.ts";

/** Never throws: what the parser throws is a refusal. */
export function readWithUnbash(line: string): Result<Script> {
  let tree: ParsedScript;
  try {
    tree = parse(line);
    if ((tree.errors?.length ?? 0) > 0 || tree.shebang !== undefined) return other("an error");
    return accept({ lists: tree.commands.map(readStatement) });
  } catch (thrown) {
    return other(thrown instanceof Unfit ? thrown.message : "a failure");
  }
}

/** Control flow of this file only. */
class Unfit extends Error {}

function other(what: string): Result<never> {
  return refuse("not_literal", `the command cannot be read as literal words (${what})`);
}

function unfit(what: string): never {
  throw new Unfit(what);
}

function readStatement(statement: Statement): AndOr {
  const background = statement.background === true;
  const node = statement.command;
  if (node.type !== "AndOr") return { pipelines: [readPipeline(node)], operators: [], background };
  return { pipelines: node.commands.map(readPipeline), operators: [...node.operators], background };
}

function readPipeline(node: PipelineNode): Pipeline {
  if (node.type === "Command") return { commands: [readCommand(node)] };
  if (node.type !== "Pipeline") return unfit(node.type);
  if (node.prefixes.length > 0) return unfit(node.prefixes[0]?.type ?? "a prefix");
  if (node.operators.some((operator) => operator !== "|")) return unfit("|&");
  return {
    commands: node.commands.map((command) =>
      command.type === "Command" ? readCommand(command) : unfit(command.type),
    ),
  };
}

function readCommand(node: CommandNode): SimpleCommand {
  if (node.name === undefined) return unfit("a command without a program");
  const assignments: Assignment[] = [];
  const words = [readWord(node.name)];
  const redirects: Redirect[] = [];
  for (const part of node.prefix)
    if (part.type === "Assignment") assignments.push(readAssignment(part));
    else redirects.push(readRedirect(part));
  for (const part of node.suffix)
    if (part.type === "Word" || part.type === "Assignment") words.push(readArgument(part));
    else redirects.push(readRedirect(part));
  return { assignments, words, redirects };
}

function readAssignment(node: AssignmentNode): Assignment {
  if (node.append === true || node.index !== undefined) return unfit("an assignment to a part");
  if (node.value.type !== "Word") return unfit("an array");
  return { name: node.name, value: readWord(node.value) };
}

/** After `export` and its like an argument is an assignment; as a word it is its text. */
function readArgument(node: CommandArgument): string {
  if (node.type === "Word") return readWord(node);
  const { name, value } = readAssignment(node);
  return `${name}=${value}`;
}

function readWord(word: Word): string {
  for (const part of word.parts ?? []) {
    if (part.type === "DoubleQuoted") {
      const computed = part.parts.find(({ type }) => type !== "Literal");
      if (computed !== undefined) return unfit(computed.type);
    } else if (part.type !== "Literal" && part.type !== "SingleQuoted") return unfit(part.type);
  }
  return word.value;
}

function readRedirect(node: Redirection): Redirect {
  if (node.type !== "Redirect") return unfit(node.type);
  const { operator, descriptor, target } = node;
  if (target === undefined) return unfit("a redirection without a file");
  if (descriptor !== undefined && descriptor.type !== "FileDescriptor")
    return unfit(descriptor.type);
  const fd = descriptor?.value ?? (operator.startsWith("<") ? 0 : 1);
  const value = readWord(target);
  switch (operator) {
    case "<&":
    case ">&":
      if (!/^([0-9]|-)$/.test(value) || target.parts !== undefined) return unfit(operator);
      return { kind: "descriptor", fd, operator, from: value === "-" ? undefined : Number(value) };
    case "&>":
    case "&>>":
      return unfit(operator);
    default:
      return { kind: "file", fd, operator, path: value };
  }
}
