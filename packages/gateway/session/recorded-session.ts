// What the recording of every session begins with, whatever it speaks. Names of people and addresses are
// here and not in the log: they are erased with the recording.

import { describeChain, rootOf } from "../delegation/chain.ts";
import type { RecordedSession } from "../recording/recorder.ts";
import type { Target } from "../target/target.ts";
import type { OpenedSession } from "./control.ts";

export function recordedSession(
  { name, protocol }: Pick<Target, "name" | "protocol">,
  { account, chain, sessionId }: OpenedSession,
  clientAddress: string,
  more: Readonly<Record<string, string>> = {},
): RecordedSession {
  return {
    sessionId,
    subject: rootOf(chain).subject,
    data: {
      ...{ protocol, target: name, account },
      ...{ chain: describeChain(chain), client: clientAddress },
      ...more,
    },
  };
}
