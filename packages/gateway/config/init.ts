// `custody init`: a folder with a commented configuration, the starter policies, the gateway's CA and
// its key for sealed secrets. It refuses when any of them is there and then leaves nothing behind.

import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { type Clock, systemClock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { createSealKey } from "../credential/secrets.ts";
import { starterPolicies } from "../policy/starter.ts";
import { caFiles, createCa } from "./ca.ts";
import { STARTER_CONFIG } from "./starter-text.ts";

export interface InitDeps {
  readonly clock: Clock;
}

export interface Initialised {
  readonly configFile: string;
  readonly policiesDirectory: string;
  readonly dataDirectory: string;
  readonly caFile: string;
  /** What `custody login` is given, `AB:CD:…`. */
  readonly caFingerprint: string;
}

export async function initialise(
  directory: string,
  deps: InitDeps = { clock: systemClock },
): Promise<Initialised> {
  const root = resolve(directory);
  const configFile = join(root, "custody.yaml");
  const policiesDirectory = join(root, "policies");
  const dataDirectory = join(root, "data");
  for (const path of [configFile, policiesDirectory, dataDirectory])
    if (existsSync(path) && !isEmptyDirectory(path))
      throw new GatewayError("invalid", `${path} is already there; nothing was changed`, {
        hint: "name another folder, or use what is there: custody check",
      });
  mkdirSync(policiesDirectory, { recursive: true });
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 });
  const ca = await createCa(dataDirectory, deps.clock.nowMs());
  await createSealKey(dataDirectory);
  for (const { name, text } of starterPolicies())
    writeFileSync(join(policiesDirectory, name), text, { flag: "wx" });
  // Last, since it is what says that the folder is whole.
  writeFileSync(configFile, STARTER_CONFIG, { flag: "wx" });
  return {
    configFile,
    policiesDirectory,
    dataDirectory,
    caFile: caFiles(dataDirectory).certificate,
    caFingerprint: ca.fingerprint,
  };
}

function isEmptyDirectory(path: string): boolean {
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}
