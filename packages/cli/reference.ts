// Makes docs/reference/cli.md from the commands as they are defined.
//
//   node packages/cli/reference.ts [--check]
//
// With --check nothing is written; the exit code is 1 when the page is not up to date.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Command, Option } from "commander";

import { EXIT_CODE_HELP, EXIT_CODES } from "./faults.ts";
import { buildProgram, ENVIRONMENT_HELP, visibleCommands } from "./program.ts";

const PAGE = join(import.meta.dirname, "../../docs/reference/cli.md");

const INTRODUCTION = `<!-- Made by packages/cli/reference.ts; edit the commands in packages/cli/commands instead. -->

# custody

From a clone: \`npm run --silent custody -- COMMAND …\`, or \`node_modules/.bin/custody\`. Options that every command takes:

`;

const JSON_NOTE = `
With \`--json\` exactly one JSON value goes to standard output, \`{"error":{"code","message","hint","requestId"}}\`
when it did not work; \`replay\` and \`tail\` print one value a line. Without it, results go to standard output
and everything else to standard error.

`;

export function cliReference(): string {
  const program = buildProgram({
    stdout: () => undefined,
    stderr: () => undefined,
    colour: false,
    columns: 100,
    environment: {},
    nowMs: () => 0,
    readStdin: async () => "",
  });
  const codes = EXIT_CODE_HELP.map(([name, text]) => `| ${EXIT_CODES[name]} | ${text} |`);
  const variables = ENVIRONMENT_HELP.map(([name, text]) => `| \`${name}\` | ${text} |`);
  const groups = Map.groupBy(visibleCommands(program), (command) => command.helpGroup());
  const sections = [...groups].map(
    ([title, commands]) =>
      `## ${title.replace(/:$/, "")}\n\n${commands.map((one) => commandText(one, "custody")).join("")}`,
  );
  return [
    INTRODUCTION,
    optionTable(program.options),
    JSON_NOTE,
    "| exit code | |\n|---|---|\n",
    `${codes.join("\n")}\n\n`,
    "| variable | |\n|---|---|\n",
    `${variables.join("\n")}\n\n`,
    sections.join(""),
  ]
    .join("")
    .replace(/\n+$/, "\n");
}

function commandText(command: Command, parent: string): string {
  const name = `${parent} ${command.name()}`;
  const inner = visibleCommands(command);
  if (inner.length > 0) return inner.map((one) => commandText(one, name)).join("");
  const rows = command.registeredArguments.map((argument) => {
    const shown = argument.required ? `<${argument.name()}>` : `[${argument.name()}]`;
    return `| \`${shown}\` | ${cell(argument.description)} |`;
  });
  const list =
    rows.length + command.options.length === 0
      ? ""
      : `\n| | |\n|---|---|\n${[...rows, ...command.options.map(optionRow)].join("\n")}\n`;
  const after = closingText(command);
  const closing = after === "" ? "" : `\n\`\`\`text\n${after}\n\`\`\`\n`;
  return `### ${name}\n\n\`${name} ${command.usage()}\` — ${command.description()}.\n${list}${closing}\n`;
}

/** What the command's help says after its options; commander gives it out only with the whole help. */
function closingText(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (written) => {
      text += written;
    },
  });
  command.outputHelp();
  return text.slice(command.helpInformation().length).trim();
}

function optionTable(options: readonly Option[]): string {
  return `| | |\n|---|---|\n${options.map(optionRow).join("\n")}\n`;
}

function optionRow(option: Option): string {
  const notes = [
    option.argChoices ? `one of ${option.argChoices.join(", ")}` : "",
    typeof option.defaultValue === "string" ? `default: \`${option.defaultValue}\`` : "",
    option.mandatory ? "required" : "",
  ].filter((one) => one !== "");
  const text = [option.description, ...notes].join("; ");
  return `| \`${cell(option.flags)}\` | ${cell(text)} |`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

if (import.meta.main) {
  const page = cliReference();
  if (!process.argv.includes("--check")) writeFileSync(PAGE, page);
  else if (readFileSync(PAGE, "utf8") !== page) {
    process.stderr.write(
      "docs/reference/cli.md is not up to date: node packages/cli/reference.ts\n",
    );
    process.exitCode = 1;
  }
}
