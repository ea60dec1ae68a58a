// Whether a sed script only edits text: no e, w, r or their kin, which run programs and touch files. A
// small part of the language (IEEE Std 1003.1, sed, "Editing Commands in sed"), read strictly; anything
// else is code.

/** True where the script can do nothing but change what passes through. */
export function onlyEdits(script: string): boolean {
  let rest = script;
  while (rest !== "") {
    const next = skipCommand(rest);
    if (next === undefined) return false;
    rest = next;
  }
  return true;
}

const BLANKS = /^[ \t\n;]+/;
/** Addresses: numbers, $, first~step; expressions are read apart. */
const ADDRESS = /^(?:[0-9]+(?:~[0-9]+)?|\$)/;
const RANGE = /^[ \t]*,[ \t]*(?:[+~][0-9]+)?/;
/** Commands without arguments, and the end that each must have. */
const PLAIN = /^(?:[pdDPnNhHgGxlz=]|[qQ] ?[0-9]*)[ \t]*(?=$|[;\n}])/;
const FLAGS = /^[gpiIm0-9]*[ \t]*(?=$|[;\n}])/;

/** What is left behind the first command; undefined: not understood. */
function skipCommand(script: string): string | undefined {
  let rest = script.replace(BLANKS, "");
  if (rest === "") return "";
  if (rest[0] === "}") return rest.slice(1);
  const addressed = skipAddresses(rest);
  if (addressed === undefined) return undefined;
  rest = addressed;
  if (rest[0] === "{") return rest.slice(1);
  if (rest[0] === "s" || rest[0] === "y") return skipSubstitute(rest);
  const plain = PLAIN.exec(rest)?.[0];
  return plain === undefined ? undefined : rest.slice(plain.length);
}

function skipAddresses(script: string): string | undefined {
  const first = skipAddress(script);
  if (first === undefined) return undefined;
  let rest = first;
  const range = rest === script ? undefined : RANGE.exec(rest)?.[0];
  if (range !== undefined) {
    rest = rest.slice(range.length);
    const second = /[+~]/.test(range) ? rest : skipAddress(rest);
    if (second === undefined || (second === rest && !/[+~]/.test(range))) return undefined;
    rest = second;
  }
  return rest.replace(/^[ \t]*!?[ \t]*/, "");
}

/** The script itself where it has no address. */
function skipAddress(script: string): string | undefined {
  if (script[0] === "/") {
    const end = endOfPart(script, 1, "/", true);
    return end === undefined ? undefined : script.slice(end + 1).replace(/^[IM]*/, "");
  }
  return script.slice(ADDRESS.exec(script)?.[0].length ?? 0);
}

function skipSubstitute(script: string): string | undefined {
  const delimiter = script[1] ?? "";
  if (!/^[/|,#:@!%_+]$/.test(delimiter)) return undefined;
  const middle = endOfPart(script, 2, delimiter, script[0] === "s");
  if (middle === undefined) return undefined;
  const end = endOfPart(script, middle + 1, delimiter, false);
  if (end === undefined) return undefined;
  const rest = script.slice(end + 1);
  const flags = FLAGS.exec(rest)?.[0];
  if (flags === undefined || (script[0] === "y" && flags.trim() !== "")) return undefined;
  return rest.slice(flags.length);
}

/**
 * Where the delimiter stands that ends the part. Some seds let it stand inside of [ ] and some do not, so
 * brackets must be closed before it, and then both end at the same place.
 */
function endOfPart(
  script: string,
  from: number,
  delimiter: string,
  isExpression: boolean,
): number | undefined {
  let at = from;
  while (at < script.length && script[at] !== delimiter) {
    if (script[at] === "\n") return undefined;
    at += script[at] === "\\" ? 2 : 1;
  }
  if (at >= script.length) return undefined;
  return isExpression && !bracketsAreClosed(script.slice(from, at)) ? undefined : at;
}

function bracketsAreClosed(expression: string): boolean {
  for (let at = 0; at < expression.length; at++) {
    if (expression[at] === "\\") at++;
    else if (expression[at] === "[") {
      // The first character is a member even where it is ].
      const first = at + (expression[at + 1] === "^" ? 2 : 1);
      const close = endOfBracket(expression, first);
      if (close === -1) return false;
      at = close;
    }
  }
  return true;
}

function endOfBracket(expression: string, first: number): number {
  let at = first + 1;
  if (expression[first] === "[" && /[.:=]/.test(expression[first + 1] ?? "")) at = first;
  while (at < expression.length && expression[at] !== "]") {
    const kind = expression[at] === "[" ? (expression[at + 1] ?? "") : "";
    if (/^[.:=]$/.test(kind)) {
      const inner = expression.indexOf(`${kind}]`, at + 2);
      if (inner === -1) return -1;
      at = inner + 2;
    } else at++;
  }
  return at < expression.length ? at : -1;
}
