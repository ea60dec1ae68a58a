// Anchors in a bucket with object lock, of S3 or who speaks as it: each head is an object that nobody can
// overwrite or delete until its time is over (mode COMPLIANCE), the gateway and its administrator included.
//
// Buckets with object lock keep versions. Who has the bucket's key can still hide an object behind a newer
// version or a delete marker, so what is read is always the oldest version, and what is looked for is looked
// for among versions.

import { hash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { type AnchorStore, HEAD_END } from "./anchors.ts";
import { type AwsKey, signAwsRequest } from "./aws-signature.ts";
import type { Outbound, OutboundAnswer } from "./outbound.ts";

export interface S3AnchorSettings {
  /** Of the bucket: `https://s3.example/bucket`, `https://bucket.s3.example`. */
  readonly url: string;
  readonly region: string;
  readonly retainMs: number;
  /** Asked for anew each time, for keys are renewed. */
  readonly key: () => Promise<AwsKey>;
  readonly outbound: Outbound;
  readonly clock: Pick<Clock, "nowMs">;
}

interface Version {
  readonly key: string;
  readonly id: string;
}

interface VersionList {
  readonly versions: readonly Version[];
  /** Where the next list begins; undefined at the end. */
  readonly next: { readonly key: string; readonly id: string } | undefined;
}

/** One answer has some hundred bytes a version, and is bounded (outbound.ts). */
const VERSIONS_A_LIST = 100;
const MAX_LISTS = 100;

export function s3Anchors(settings: S3AnchorSettings): AnchorStore {
  const bucket = settings.url.replace(/\/+$/, "");
  const oldest = (name: string): Promise<Version | undefined> =>
    // Newest first, so it is the last.
    findVersion(settings, bucket, { prefix: name }, ({ key }) => key === name, "last");
  return {
    name: bucket,
    async put(name, bytes) {
      if ((await oldest(name)) !== undefined) return "exists";
      const until = new Date(settings.clock.nowMs() + settings.retainMs);
      const answer = await send(settings, "PUT", new URL(`${bucket}/${name}`), bytes, {
        // Between the look and this somebody else may have been.
        "if-none-match": "*",
        "content-md5": hash("md5", bytes, "base64"),
        "content-type": "text/plain",
        "x-amz-object-lock-mode": "COMPLIANCE",
        "x-amz-object-lock-retain-until-date": until.toISOString(),
      });
      if (answer.status === 412) return "exists";
      if (answer.status !== 200) throw refused("PUT", answer);
      return "written";
    },
    async read(name) {
      const version = await oldest(name);
      if (version === undefined) return undefined;
      const url = new URL(`${bucket}/${name}`);
      url.searchParams.set("versionId", version.id);
      const answer = await send(settings, "GET", url);
      if (answer.status === 404) return undefined;
      if (answer.status !== 200) throw refused("GET", answer);
      return answer.body;
    },
    async after(name, begin) {
      const isHead = ({ key }: Version) => key > name && key.endsWith(HEAD_END);
      const query = { prefix: begin, "key-marker": name };
      return (await findVersion(settings, bucket, query, isHead, "first"))?.key;
    },
  };
}

/** The first, or last, that is it, in one list after the other. */
async function findVersion(
  settings: S3AnchorSettings,
  bucket: string,
  query: Readonly<Record<string, string>>,
  isIt: (version: Version) => boolean,
  which: "first" | "last",
): Promise<Version | undefined> {
  let found: Version | undefined;
  let next: VersionList["next"];
  for (let list = 0; list < MAX_LISTS; list++) {
    const url = new URL(bucket);
    url.searchParams.set("versions", "");
    url.searchParams.set("max-keys", String(VERSIONS_A_LIST));
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    if (next !== undefined) {
      url.searchParams.set("key-marker", next.key);
      url.searchParams.set("version-id-marker", next.id);
    }
    const answer = await send(settings, "GET", url);
    if (answer.status !== 200) throw refused("a list of versions", answer);
    const page = parseVersions(answer.body.toString("utf8"));
    found = (which === "first" ? page.versions.find(isIt) : page.versions.findLast(isIt)) ?? found;
    next = page.next;
    if (next === undefined || (which === "first" && found !== undefined)) return found;
  }
  throw new GatewayError("dependency_unavailable", "the bucket has too many versions of an anchor");
}

/** Of ListObjectVersions; objects whose names are none of ours are passed over. */
function parseVersions(xml: string): VersionList {
  const versions: Version[] = [];
  for (const [, inside = ""] of xml.matchAll(/<Version>(.*?)<\/Version>/gs)) {
    const key = element(inside, "Key");
    const id = element(inside, "VersionId");
    if (/^[A-Za-z0-9._-]+$/.test(key) && id !== "") versions.push({ key, id });
  }
  if (element(xml, "IsTruncated") !== "true") return { versions, next: undefined };
  const next = { key: element(xml, "NextKeyMarker"), id: element(xml, "NextVersionIdMarker") };
  if (next.key === "") throw new GatewayError("dependency_unavailable", "a list without its next");
  return { versions, next };
}

function element(xml: string, name: string): string {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? "";
}

async function send(
  { key, region, outbound, clock }: S3AnchorSettings,
  method: "GET" | "PUT",
  url: URL,
  body: Uint8Array = new Uint8Array(0),
  headers: Readonly<Record<string, string>> = {},
): Promise<OutboundAnswer> {
  const signed = signAwsRequest({ method, url, headers, body }, await key(), region, clock.nowMs());
  return outbound.send({
    url: url.href,
    method,
    headers: signed,
    ...(method === "PUT" ? { body } : {}),
  });
}

function refused(what: string, { status, body }: OutboundAnswer): GatewayError {
  const code = element(body.toString("utf8"), "Code");
  return new GatewayError(
    "dependency_unavailable",
    `${what}: the bucket answered ${status} ${code}`,
  );
}
