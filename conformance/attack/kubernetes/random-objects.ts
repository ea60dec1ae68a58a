// Objects as nobody writes them by hand: of every kind that holds something classified, with canaries at the
// places that are classified and in what repeats them, and beside them whatever an API server takes.

import { randomBytes } from "node:crypto";
import type { TestCluster } from "../../support/kubernetes-server.ts";

/** A source of numbers that begins with a seed: the same seed, the same run. */
export interface Dice {
  /** 0 … sides − 1 */
  roll(sides: number): number;
  of<Value>(values: readonly Value[]): Value;
}

export type CanaryClass = "secret.k8s" | "secret.k8s.env" | "secret.token";

export interface Planted {
  /** Its path: `/apis/apps/v1/namespaces/hunt/deployments/o3`. */
  readonly path: string;
  readonly collection: string;
  readonly name: string;
  readonly kind: string;
  readonly apiVersion: string;
  /** Where pods have their containers in it; undefined: it has none. */
  readonly template: readonly string[] | undefined;
}

export const HUNT = "hunt";

/** mulberry32 */
export function diceOf(seed: number): Dice {
  let state = seed >>> 0;
  const roll = (sides: number) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides;
  };
  return { roll, of: (values) => values[roll(values.length)] as never };
}

interface Shape {
  readonly kind: string;
  readonly apiVersion: string;
  readonly plural: string;
  /** Where a pod's spec is; [] for a pod itself. */
  readonly template?: readonly string[];
}

const SHAPES: readonly Shape[] = [
  { kind: "Secret", apiVersion: "v1", plural: "secrets" },
  { kind: "Secret", apiVersion: "v1", plural: "secrets" },
  { kind: "ConfigMap", apiVersion: "v1", plural: "configmaps" },
  { kind: "Widget", apiVersion: "example.com/v1", plural: "widgets" },
  { kind: "Pod", apiVersion: "v1", plural: "pods", template: [] },
  { kind: "PodTemplate", apiVersion: "v1", plural: "podtemplates", template: ["template"] },
  {
    ...{ kind: "ReplicationController", apiVersion: "v1", plural: "replicationcontrollers" },
    template: ["spec", "template"],
  },
  ...(["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"] as const).map((kind) => ({
    ...{ kind, apiVersion: "apps/v1", plural: `${kind.toLowerCase()}s` },
    template: ["spec", "template"],
  })),
  { kind: "Job", apiVersion: "batch/v1", plural: "jobs", template: ["spec", "template"] },
  {
    ...{ kind: "CronJob", apiVersion: "batch/v1", plural: "cronjobs" },
    template: ["spec", "jobTemplate", "spec", "template"],
  },
];

/** Puts `count` of them into a namespace of their own. The kind Widget must be there. */
export async function plantRandom(
  { call }: TestCluster,
  dice: Dice,
  count: number,
  canaries: Readonly<Record<CanaryClass, string>>,
): Promise<Planted[]> {
  await call("POST", "/api/v1/namespaces", { metadata: { name: HUNT } });
  const planted: Planted[] = [];
  for (let index = 0; index < count; index++) {
    const shape = index < SHAPES.length ? (SHAPES[index] as Shape) : dice.of(SHAPES);
    const { apiVersion, kind, plural, template } = shape;
    const base = apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`;
    const collection = `${base}/namespaces/${HUNT}/${plural}`;
    const name = `o${index}`;
    await call("POST", collection, randomObject(shape, name, dice, canaries));
    planted.push({
      ...{ collection, name, kind, apiVersion, template },
      path: `${collection}/${name}`,
    });
  }
  return planted;
}

type Canaries = Readonly<Record<CanaryClass, string>>;

function randomObject(
  { apiVersion, kind, template }: Shape,
  name: string,
  dice: Dice,
  canaries: Canaries,
) {
  const rest =
    kind === "Secret"
      ? secretParts(dice, canaries)
      : kind === "ConfigMap"
        ? { data: { token: around(dice, canaries["secret.token"]), plain: noise(dice) } }
        : kind === "Widget"
          ? { spec: { apiKey: around(dice, canaries["secret.token"]) } }
          : workload(kind, template ?? [], podParts(dice, canaries));
  const object = { apiVersion, kind, metadata: { name, labels: { hunt: dice.of(["a", "b"]) } } };
  const annotations = annotationsOf(dice, { ...object, ...rest });
  return { ...object, metadata: { ...object.metadata, annotations }, ...rest };
}

function secretParts(dice: Dice, canaries: Canaries): Record<string, unknown> {
  const value = () => around(dice, canaries["secret.k8s"]);
  const keys = ["key", "a.b", "UPPER_lower-1", ".hidden", "tls.key"].slice(0, 1 + dice.roll(5));
  const bytes = () => Buffer.concat([randomBytes(dice.roll(4)), Buffer.from(value())]);
  const data = Object.fromEntries(keys.map((key) => [key, bytes().toString("base64")]));
  const parts = dice.roll(2) === 0 ? { data } : { data, stringData: { written: value() } };
  return { ...parts, type: dice.of(["Opaque", "example.com/own"]), immutable: dice.roll(3) === 0 };
}

function podParts(dice: Dice, canaries: Canaries): { spec: Record<string, unknown> } {
  const containers = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, index) => ({
      ...{ name: `${prefix}${index}`, image: dice.of(["x", "y:1"]) },
      env: Array.from({ length: 1 + dice.roll(3) }, (_one, at) => ({
        name: dice.of([`VAR_${at}`, `a.b-${at}`]),
        value: around(dice, canaries["secret.k8s.env"]),
      })),
      ...(dice.roll(2) === 0 ? { command: ["run", noise(dice)] } : {}),
    }));
  const initContainers = containers("i", dice.roll(3));
  return { spec: { containers: containers("c", 1 + dice.roll(3)), initContainers } };
}

function workload(kind: string, path: readonly string[], pod: { spec: Record<string, unknown> }) {
  if (path.length === 0) return pod;
  const labels = { app: "hunted" };
  const restarts = kind.endsWith("Job") ? { restartPolicy: "Never" } : {};
  const template = { metadata: { labels }, spec: { ...pod.spec, ...restarts } };
  if (kind === "PodTemplate") return { template };
  if (kind === "Job") return { spec: { template } };
  if (kind === "CronJob")
    return { spec: { schedule: "0 0 1 1 *", jobTemplate: { spec: { template } } } };
  const selector = kind === "ReplicationController" ? labels : { matchLabels: labels };
  return { spec: { selector, template, ...(kind === "StatefulSet" ? { serviceName: "x" } : {}) } };
}

/** What applies and tools leave: the object once more, written as JSON. */
function annotationsOf(dice: Dice, object: unknown): Record<string, string> {
  const written = JSON.stringify(object, undefined, dice.roll(3));
  const annotations: Record<string, string> = { note: noise(dice) };
  if (dice.roll(2) === 0) annotations["kubectl.kubernetes.io/last-applied-configuration"] = written;
  if (dice.roll(3) === 0) annotations["tools.example.com/original"] = written;
  if (dice.roll(4) === 0)
    annotations["tools.example.com/list"] = JSON.stringify({ items: [object] });
  return annotations;
}

/** As values are: by itself, in an address, in lines, in JSON. */
function around(dice: Dice, canary: string): string {
  return dice.of([
    canary,
    `postgres://app:${canary}@db:5432/shop`,
    `first line\n${canary}\nlast line\n`,
    JSON.stringify({ auths: { registry: { password: canary } } }),
    `"${canary}"\\`,
    `${noise(dice)}${canary}${noise(dice)}`,
  ]);
}

function noise(dice: Dice): string {
  return dice.of(["", "x", "ä€𝄞", "a=b&c=d", '{"kind":"Pod"}', "\u0001\t", "null"]);
}
