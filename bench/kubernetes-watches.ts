// What the gateway adds until an event is seen, with many watches open: to one that alone has an event, and
// to the first, the middle and the last of all that are told the same one. The API server needs its time
// too until it told the last: as many are opened directly in the same run, and what is added is the difference.

import { randomBytes } from "node:crypto";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTls } from "node:tls";
import type { TestCluster } from "../conformance/support/kubernetes-server.ts";
import { median, type Row } from "./rows.ts";

export interface WatchedPeer {
  /** Up to where the API's paths begin. */
  readonly base: string;
  readonly ca: string;
  readonly token: string;
}

export interface WatchBench {
  readonly cluster: TestCluster;
  readonly custody: WatchedPeer;
  readonly direct: WatchedPeer;
  readonly watches: number;
}

interface Seen {
  readonly first: number;
  readonly middle: number;
  readonly last: number;
  /** Of the one watch of another object. */
  readonly alone: number;
}

type Tell = (text: string) => void;

const EVENTS = 15;
/** As client-go's: the API server allows so many on a connection. */
const STREAMS = 100;
const OPENING = 25;
const COLLECTION = "/api/v1/namespaces/shop/configmaps";

export async function watchRows(bench: WatchBench): Promise<Row[]> {
  for (const name of ["moving", "alone"])
    await bench.cluster.call("POST", COLLECTION, { metadata: { name } });
  const rows: Row[] = [];
  for (const [how, open] of [
    ["HTTP/1.1", openHttp1],
    ["HTTP/2", openHttp2],
  ] as const) {
    const direct = await measure(bench, bench.direct, open);
    const custody = await measure(bench, bench.custody, open);
    const row = (what: string, of: (seen: Seen) => number): Row => ({
      name: `event, ${bench.watches} watches, ${how}, ${what}`,
      ...{ unit: "ms more", against: "direct", ratio: undefined, runs: EVENTS },
      value: median(custody.map(of)) - median(direct.map(of)),
    });
    rows.push(
      row("to one alone", ({ alone }) => alone),
      row("to the first", ({ first }) => first),
      row("to the middle", ({ middle }) => middle),
      row("to the last", ({ last }) => last),
    );
  }
  return rows;
}

async function measure(
  { cluster, watches }: WatchBench,
  peer: WatchedPeer,
  open: typeof openHttp1,
): Promise<Seen[]> {
  let mark = "";
  let arrived: number[] = [];
  let hasAll: () => void = () => undefined;
  let expected = 0;
  const telling = (): Tell => {
    let kept = "";
    return (text) => {
      kept += text;
      if (mark === "" || !kept.includes(mark)) {
        kept = kept.slice(-4096);
        return;
      }
      kept = "";
      arrived.push(performance.now());
      if (arrived.length === expected) hasAll();
    };
  };
  const event = async (name: string, count: number): Promise<number[]> => {
    const all = Promise.withResolvers<void>();
    [hasAll, expected, arrived] = [all.resolve, count, []];
    mark = randomBytes(8).toString("hex");
    const begun = performance.now();
    await cluster.call("PATCH", `${COLLECTION}/${name}`, { data: { mark } });
    await all.promise;
    return arrived.map((at) => at - begun).sort((one, other) => one - other);
  };
  await using opened = new AsyncDisposableStack();
  opened.defer(await open(peer, watchOf("moving"), Array.from({ length: watches }, telling)));
  opened.defer(await open(peer, watchOf("alone"), [telling()]));
  const seen: Seen[] = [];
  for (let index = 0; index < EVENTS; index++) {
    const times = await event("moving", watches);
    const [alone = Number.NaN] = await event("alone", 1);
    const at = (place: number) => times[place] ?? Number.NaN;
    seen.push({ first: at(0), middle: at(watches >> 1), last: at(watches - 1), alone });
  }
  return seen;
}

function watchOf(name: string): string {
  return `${COLLECTION}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3D${name}`;
}

/** A connection each; what closes them. */
async function openHttp1(
  { base, ca, token }: WatchedPeer,
  path: string,
  tells: readonly Tell[],
): Promise<() => void> {
  const { hostname: host, pathname, port } = new URL(base);
  const open: { destroy(): void }[] = [];
  const head = `GET ${pathname === "/" ? "" : pathname}${path} HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${token}\r\n\r\n`;
  const one = (tell: Tell) =>
    new Promise<void>((resolve, reject) => {
      const socket = connectTls({ host, port: Number(port), ca }, () => socket.write(head));
      socket.setNoDelay(true).setEncoding("latin1");
      socket.once("data", (text: string) => {
        if (text.startsWith("HTTP/1.1 200 ")) resolve();
        else reject(new Error(text));
      });
      socket.on("data", tell).on("error", reject);
      open.push(socket);
    });
  for (let begun = 0; begun < tells.length; begun += OPENING)
    await Promise.all(tells.slice(begun, begun + OPENING).map(one));
  return () => {
    for (const socket of open) socket.destroy();
  };
}

async function openHttp2(
  { base, ca, token }: WatchedPeer,
  path: string,
  tells: readonly Tell[],
): Promise<() => void> {
  const { origin, pathname } = new URL(base);
  const open: { destroy(): void }[] = [];
  for (let begun = 0; begun < tells.length; begun += STREAMS) {
    const session = connectHttp2(origin, { ca });
    session.on("error", () => session.destroy());
    open.push(session);
    const one = (tell: Tell) =>
      new Promise<void>((resolve, reject) => {
        const stream = session.request({
          ":path": (pathname === "/" ? "" : pathname) + path,
          authorization: `Bearer ${token}`,
        });
        stream.on("response", ({ ":status": status }) => {
          if (status === 200) resolve();
          else reject(new Error(`${path}: ${status}`));
        });
        stream.setEncoding("latin1").on("data", tell).on("error", reject);
      });
    await Promise.all(tells.slice(begun, begun + STREAMS).map(one));
  }
  return () => {
    for (const session of open) session.destroy();
  };
}
