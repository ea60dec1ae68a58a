// The real gateway under what goes wrong: bad input, peers that stall or vanish, disks that fill, the
// gateway killed. `npm run conformance:resilience`; with words as arguments only the groups whose names
// contain one of them. CUSTODY_RUNS is how often the gateway is killed. The last line is
// `N passed, N failed, N skipped`.

import { badInput } from "./bad-input.ts";
import { badRequests } from "./bad-requests.ts";
import { runGroups } from "./checks.ts";
import { kill } from "./kill.ts";
import { leaks } from "./leaks.ts";
import { providers } from "./providers.ts";
import { reloading } from "./reloading.ts";
import { stopping } from "./stopping.ts";
import { storage } from "./storage.ts";
import { targets } from "./targets.ts";
import { openWorld } from "./world.ts";

const words = process.argv.slice(2);
const groups = [
  badInput,
  badRequests,
  targets,
  providers,
  reloading,
  stopping,
  storage,
  leaks,
  kill,
].filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));

await using world = await openWorld();
console.log(`PostgreSQL ${world.server.version}\n`);
const { passed, failed, skipped } = await runGroups(groups, world);
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
