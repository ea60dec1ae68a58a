// Start-up and browsing queries of everyday tools: `npm run conformance:postgres:tools`; with words as
// arguments only tools whose names contain one. The last line is `N passed, N failed, N skipped`.

import { runTools } from "./run-tools.ts";

const { passed, failed, skipped } = await runTools(process.argv.slice(2));
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
