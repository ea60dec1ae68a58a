// Chromium for $BROWSER, headless, driven over the DevTools protocol as a person would: opens the
// address, fills the form in, presses the button, and ends when the page says so.
//
//   node chromium-program.ts URL      CUSTODY_TEST_ACCOUNT, CUSTODY_TEST_PASSWORD, CUSTODY_TEST_PROFILE

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const { CUSTODY_TEST_ACCOUNT, CUSTODY_TEST_PASSWORD, CUSTODY_TEST_PROFILE = "" } = process.env;
const TIMEOUT_MS = 45_000;
const STEP_MS = 100;

const chromium = spawn(
  "chromium",
  [
    ...["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"],
    // The provider's authority is made for this test.
    "--ignore-certificate-errors",
    ...["--remote-debugging-port=0", `--user-data-dir=${CUSTODY_TEST_PROFILE}`, "about:blank"],
  ],
  { stdio: ["ignore", "ignore", "pipe"] },
);
const timer = setTimeout(() => chromium.kill("SIGKILL"), TIMEOUT_MS);
try {
  await drive(await debuggerAddress());
} finally {
  clearTimeout(timer);
  chromium.kill();
}

async function debuggerAddress(): Promise<string> {
  for await (const line of createInterface({ input: chromium.stderr })) {
    const address = /DevTools listening on (ws:\S+)/.exec(line)?.[1];
    if (address !== undefined) return address;
  }
  throw new Error("chromium did not start");
}

async function drive(address: string): Promise<void> {
  const socket = new WebSocket(address);
  await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));
  let last = 0;
  const send = (method: string, params: object, sessionId?: string) => {
    const id = ++last;
    const answer = new Promise<{ result: Record<string, unknown> }>((resolve) => {
      const listener = (event: MessageEvent) => {
        const message = JSON.parse(String(event.data));
        if (message.id !== id) return;
        socket.removeEventListener("message", listener);
        resolve(message);
      };
      socket.addEventListener("message", listener);
    });
    socket.send(JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) }));
    return answer;
  };
  const target = await send("Target.createTarget", { url: process.argv[2] ?? "" });
  const { targetId } = target.result;
  const attached = await send("Target.attachToTarget", { targetId, flatten: true });
  const session = String(attached.result.sessionId);
  const evaluate = async (expression: string): Promise<unknown> => {
    const { result } = await send("Runtime.evaluate", { expression }, session);
    return Object(result.result).value;
  };
  await until(() => evaluate("document.querySelector('input[name=password]') !== null"));
  await evaluate(`document.querySelector('input[name=account]').value = ${JSON.stringify(CUSTODY_TEST_ACCOUNT)};
    document.querySelector('input[name=password]').value = ${JSON.stringify(CUSTODY_TEST_PASSWORD)};
    document.querySelector('button').click()`);
  await until(() => evaluate("document.body?.textContent.includes('You may close this page')"));
  socket.close();
}

async function until(isSo: () => Promise<unknown>): Promise<void> {
  while ((await isSo()) !== true) await new Promise((resolve) => setTimeout(resolve, STEP_MS));
}
