// Opening a page in the person's browser, where there is one: $BROWSER, else what the system has.

import { spawn } from "node:child_process";

type Environment = Readonly<Record<string, string | undefined>>;

/** undefined: there is no browser to open here, as over SSH or in a container. */
export function browserCommand(environment: Environment): readonly string[] | undefined {
  const { BROWSER, DISPLAY, WAYLAND_DISPLAY } = environment;
  if (BROWSER !== undefined && BROWSER !== "") return [BROWSER];
  if (process.platform === "darwin") return ["open"];
  if (process.platform === "win32") return ["rundll32", "url.dll,FileProtocolHandler"];
  return DISPLAY === undefined && WAYLAND_DISPLAY === undefined ? undefined : ["xdg-open"];
}

/** Starts it and waits for nothing: the address is printed too, for whoever sees no page. */
export function openBrowser(command: readonly string[], url: URL, environment: Environment): void {
  const [program = "", ...args] = command;
  const child = spawn(program, [...args, url.href], {
    env: { ...environment },
    stdio: "ignore",
    detached: true,
  });
  child.on("error", () => undefined);
  child.unref();
}
