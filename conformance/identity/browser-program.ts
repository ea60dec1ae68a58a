// A browser for $BROWSER: opens the address, signs in where a form asks, ends where it is sent.
//
//   node browser-program.ts URL      CUSTODY_TEST_ACCOUNT, CUSTODY_TEST_PASSWORD, CUSTODY_TEST_CA

import { readFileSync } from "node:fs";
import { createHttpBrowser } from "../support/http-browser.ts";

const { CUSTODY_TEST_ACCOUNT, CUSTODY_TEST_PASSWORD, CUSTODY_TEST_CA = "" } = process.env;
const browser = createHttpBrowser(readFileSync(CUSTODY_TEST_CA, "utf8"));
const page = await browser.visit(new URL(process.argv[2] ?? ""));
if (page.url.pathname.startsWith("/interaction/"))
  await browser.visit(page.url, {
    form: { account: CUSTODY_TEST_ACCOUNT ?? "", password: CUSTODY_TEST_PASSWORD ?? "" },
  });
