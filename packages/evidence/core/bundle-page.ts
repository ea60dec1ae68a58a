// The page of a bundle, for people: who asked, through whom, what was asked, what was decided and how it
// ended. Made from the bundle's parts alone, the same to the byte each time, so that verification makes
// it again and sees whether it was altered. It runs nothing and loads nothing.

import { fromBase64 } from "./base64.ts";
import { type EvidenceManifest, scopeText } from "./bundle.ts";
import type { Leaf, LeafHop } from "./leaf.ts";
import type { RecordingEvent } from "./recording.ts";

/** What a recording that was opened has. */
export interface PageSession {
  readonly session: string;
  readonly events: readonly RecordingEvent[];
}

interface Placed {
  readonly index: number;
  readonly leaf: Leaf;
}

/** One command with all that the log says of it. */
interface Command {
  readonly request: string;
  readonly first: Placed;
  readonly records: readonly Placed[];
  /** As it was sent; undefined when the bundle does not have it. */
  readonly text: string | undefined;
}

const MAX_SHOWN_CHARACTERS = 4000;

/** A whole HTML document. */
export function bundlePage(
  manifest: EvidenceManifest,
  records: readonly Placed[],
  sessions: readonly PageSession[],
): string {
  const texts = commandTexts(sessions);
  const parts = sessionsOf(records).map((session) =>
    sessionPart(session, records, texts, manifest.withheld[session]),
  );
  const others = records.filter(({ leaf }) => leaf.session === undefined);
  const scope = scopeText(manifest.scope);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evidence: ${escaped(scope)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<p class="kicker">Custody evidence</p>
<h1>${escaped(scope)}</h1>
<dl class="facts">
${fact("Log", manifest.origin)}
${fact("Records", `${records.length}, from ${timeOf(records[0])} to ${timeOf(records.at(-1))}`)}
${fact("Exported as", `record ${manifest.exported.index} of the log`)}
</dl>
<p class="note">This page is for reading. What it says is proved by the files beside it:
<code>custody evidence verify</code> checks them with the log's key, and this page against them.</p>
</header>
<main>
${parts.join("\n")}
${others.length === 0 ? "" : `<section><h2>Beside sessions</h2>${recordTable(others)}</section>`}
</main>
</body>
</html>
`;
}

function sessionPart(
  session: string,
  records: readonly Placed[],
  texts: ReadonlyMap<string, string>,
  withheld: string | undefined,
): string {
  const own = records.filter(({ leaf }) => leaf.session === session);
  const opened = own.find(({ leaf }) => leaf.chain !== undefined)?.leaf;
  const closed = own.find(({ leaf }) => leaf.event === "session.closed")?.leaf;
  const place = opened === undefined ? "" : `${opened.account ?? ""}~${opened.target ?? ""}`;
  const commands = commandsOf(own, texts).map(commandPart);
  return `<section>
<h2>Session ${escaped(session)}${place === "~" || place === "" ? "" : ` <small>on ${escaped(place)}</small>`}</h2>
${opened?.chain === undefined ? "" : chainPart(opened.chain)}
${withheld === undefined ? "" : `<p class="note">What was said in it is not here: ${escaped(withheld)}.</p>`}
<ol class="commands">
${commands.join("\n")}
</ol>
<p class="end">${closed === undefined ? "It had not ended." : `Ended ${escaped(when(closed.at))}: ${escaped(closed.outcome ?? "closed")}.`}</p>
<details><summary>${own.length} records of the log</summary>${recordTable(own)}</details>
</section>`;
}

/** Root first, as it was known then. */
function chainPart(chain: readonly LeafHop[]): string {
  const hops = chain.map(
    ({ d, s, k, p }, depth) =>
      `<li><b>${depth === 0 ? "asked by" : "through"}</b> ${escaped(k)} <code>${escaped(s)}</code>${
        s === d ? "" : ` <span class="dim">${escaped(d)}</span>`
      } <span class="tag ${escaped(p)}">${escaped(p)}</span></li>`,
  );
  return `<ol class="chain">${hops.join("")}</ol>`;
}

function commandPart({ request, first, records, text }: Command): string {
  const decided = records.find(
    ({ leaf }) => leaf.event === "command.intent" || leaf.event === "command.denied",
  )?.leaf;
  const outcome = records.find(
    ({ leaf }) => leaf.event === "command.outcome" || leaf.event === "command.indeterminate",
  )?.leaf;
  const votes = records.filter(({ leaf }) => leaf.event === "hold.voted");
  const verdict = decided?.decision ?? (votes.length > 0 ? "hold" : "none");
  const shown =
    text === undefined
      ? `<p class="dim">The command itself is not here; its SHA-256 is <code>${escaped(first.leaf.command ?? "not known")}</code>.</p>`
      : `<pre>${escaped(text)}</pre>`;
  return `<li class="command ${escaped(verdict)}">
<div class="head"><span class="badge ${escaped(verdict)}">${escaped(VERDICTS[verdict] ?? verdict)}</span>
<code>${escaped(request)}</code> <time>${escaped(when(first.leaf.at))}</time></div>
${shown}
<dl class="facts">
${fact("Does", decided?.effects?.join("; "))}
${fact("Decided by", decided?.policies?.join(", "))}
${votes.map(({ leaf }) => fact("Vote", `${String(leaf.detail?.vote)} by ${String(leaf.detail?.by)}, ${when(leaf.at)}`)).join("\n")}
${fact("Masked", outcome?.masked?.join(", "))}
${fact("Ended", outcome === undefined ? undefined : endOf(outcome))}
</dl>
</li>`;
}

function endOf(leaf: Leaf): string {
  const parts = [leaf.outcome ?? leaf.event.replace("command.", "")];
  if (leaf.rows !== undefined) parts.push(`${leaf.rows} rows`);
  if (leaf.bytes !== undefined) parts.push(`${leaf.bytes} bytes`);
  return parts.join(", ");
}

function recordTable(records: readonly Placed[]): string {
  const rows = records.map(
    ({ index, leaf }) =>
      `<tr><td>${index}</td><td>${escaped(when(leaf.at))}</td><td>${escaped(leaf.event)}</td><td>${escaped(leaf.request ?? leaf.session ?? "")}</td><td>${escaped(leaf.decision ?? leaf.outcome ?? "")}</td></tr>`,
  );
  return `<table><thead><tr><th>Record</th><th>Time (UTC)</th><th>Event</th><th>About</th><th>Said</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function sessionsOf(records: readonly Placed[]): string[] {
  return [...new Set(records.flatMap(({ leaf }) => leaf.session ?? []))];
}

function commandsOf(own: readonly Placed[], texts: ReadonlyMap<string, string>): Command[] {
  const byRequest = new Map<string, Placed[]>();
  for (const placed of own) {
    const { request } = placed.leaf;
    if (request === undefined) continue;
    const known = byRequest.get(request);
    if (known === undefined) byRequest.set(request, [placed]);
    else known.push(placed);
  }
  return [...byRequest].map(([request, records]) => ({
    request,
    first: records[0]!,
    records,
    text: texts.get(request),
  }));
}

function commandTexts(sessions: readonly PageSession[]): Map<string, string> {
  const texts = new Map<string, string>();
  for (const { events } of sessions)
    for (const event of events)
      if (event.kind === "command" && !texts.has(event.request))
        texts.set(event.request, shownText(event.bytes));
  return texts;
}

function shownText(base64: string): string {
  const bytes = fromBase64(base64);
  if (bytes === undefined) return "";
  const text = new TextDecoder().decode(bytes);
  if (text.length <= MAX_SHOWN_CHARACTERS) return text;
  return `${text.slice(0, MAX_SHOWN_CHARACTERS)}… (${bytes.length} bytes)`;
}

function fact(name: string, value: string | undefined): string {
  if (value === undefined || value === "") return "";
  return `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`;
}

function timeOf(placed: Placed | undefined): string {
  return placed === undefined ? "—" : when(placed.leaf.at);
}

function when(ms: number): string {
  return new Date(ms).toISOString().replace("T", " ").replace("Z", "");
}

/** Control and format characters are shown, never obeyed: they can turn a line around. */
function escaped(text: string): string {
  return text.replace(/[&<>"'\p{Cf}]|(?![\n\t])\p{Cc}/gu, (character) => {
    const named = ENTITIES[character];
    if (named !== undefined) return named;
    return `<span class="code">U+${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}</span>`;
  });
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

const VERDICTS: Readonly<Record<string, string>> = {
  permit: "permitted",
  approved: "approved",
  deny: "denied",
  hold: "held",
  none: "noted",
};

const STYLE = `
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#667080;--line:#d9dee5;--paper:#fff;--wash:#f6f8fa;--ok:#1a7f4b;--no:#b3261e;--wait:#9a6700;--by:#2251a4}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#97a1b0;--line:#323945;--paper:#14171c;--wash:#1c2027;--ok:#57c98a;--no:#ff8a80;--wait:#e3b341;--by:#8ab4f8}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header,main{max-width:60rem;margin:0 auto;padding:1.5rem}header{border-bottom:1px solid var(--line)}
.kicker{margin:0;color:var(--dim);text-transform:uppercase;letter-spacing:.08em;font-size:.75rem}
h1{margin:.2rem 0 1rem;font-size:1.6rem;overflow-wrap:anywhere}h2{font-size:1.2rem;margin:1.5rem 0 .75rem}h2 small{font-weight:400;color:var(--dim)}
code,pre,time{font-family:ui-monospace,monospace;font-size:.85rem}time,.dim{color:var(--dim)}
pre{margin:.5rem 0;padding:.6rem .8rem;background:var(--wash);border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.4rem 0}.facts dt{color:var(--dim)}.facts dd{margin:0;overflow-wrap:anywhere}
.note{color:var(--dim);margin:.5rem 0}.chain{list-style:none;margin:0 0 1rem;padding:0}.chain li{padding:.15rem 0 .15rem 1rem;border-left:2px solid var(--line)}.chain b{font-weight:600}
.tag{font-size:.75rem;border:1px solid var(--line);border-radius:99px;padding:0 .5rem;color:var(--dim)}.tag.attested,.tag.possession{color:var(--ok)}.tag.asserted{color:var(--no)}
.commands{list-style:none;margin:0;padding:0}.command{border:1px solid var(--line);border-left:4px solid var(--dim);border-radius:8px;padding:.7rem .9rem;margin:.6rem 0}
.command.permit{border-left-color:var(--ok)}.command.approved{border-left-color:var(--by)}.command.deny{border-left-color:var(--no)}.command.hold{border-left-color:var(--wait)}
.head{display:flex;gap:.75rem;align-items:baseline;flex-wrap:wrap}.badge{font-weight:600}.badge.permit{color:var(--ok)}.badge.approved{color:var(--by)}.badge.deny{color:var(--no)}.badge.hold{color:var(--wait)}
.end{color:var(--dim)}table{border-collapse:collapse;width:100%;font-size:.85rem;margin:.5rem 0}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--dim);font-weight:500}
summary{cursor:pointer;color:var(--dim)}.code{color:var(--no);font-family:ui-monospace,monospace;font-size:.8em}
@media print{details{display:none}.command{break-inside:avoid}}
`;
