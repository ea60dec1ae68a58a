// SFTP as the suites want it: any request, as it is, and its own answer.

import { decodeSftpResponse, encodeSftpRequest, SftpCursor } from "@custody/wire/ssh/sftp.ts";
import type { SftpOperation, SftpRequest, SftpResponse } from "@custody/wire/ssh/sftp-messages.ts";
import type { SshStage } from "./stage.ts";
import { openWireClient } from "./wire-client.ts";

export type SftpAnswer = Extract<SftpResponse, { readonly id: number }>;

export interface RawSftp extends AsyncDisposable {
  ask(request: SftpOperation): Promise<SftpAnswer>;
}

export async function openSftp(stage: SshStage): Promise<RawSftp> {
  const client = await openWireClient({
    port: Number(stage.port),
    user: "web-1",
    secret: stage.handles.data,
  });
  const cursor = new SftpCursor({ maxPacketBytes: 256 * 1024 });
  const waiting = new Map<number, (answer: SftpAnswer) => void>();
  const version = Promise.withResolvers<void>();
  const channel = await client.subsystem("sftp", (data) => {
    cursor.push(data);
    for (let packet = cursor.next(); packet !== undefined; packet = cursor.next()) {
      const answer = decodeSftpResponse(packet);
      if (answer.kind === "version") version.resolve();
      else {
        waiting.get(answer.id)?.(answer);
        waiting.delete(answer.id);
      }
    }
  });
  channel.send(encodeSftpRequest({ kind: "init", version: 3, extensions: [] }));
  await version.promise;
  let id = 0;
  return {
    ask(request) {
      id += 1;
      const own = id;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no answer to ${request.kind}`)), 20_000);
        waiting.set(own, (answer) => {
          clearTimeout(timer);
          resolve(answer);
        });
        channel.send(encodeSftpRequest({ ...request, id: own } as SftpRequest));
      });
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
