// Policies read in a thread of their own, for load.ts: one set, one answer.

import { parentPort, workerData } from "node:worker_threads";
import { type PolicyFile, readPolicies } from "./load.ts";

if (parentPort !== null) parentPort.postMessage(readPolicies(workerData as readonly PolicyFile[]));
