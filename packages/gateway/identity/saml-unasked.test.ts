// SAML sign-ins that begin at the provider, with responses of one that is not ours (profiles section 4.1.5).

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { createSamlProvider, type SamlWords } from "../../../conformance/identity/saml-provider.ts";
import { Secret } from "../base/secret.ts";
import { createSaml } from "./saml.ts";
import { openSamlKeys } from "./saml-keys.ts";

const MINUTE_MS = 60_000;
let nowMs = Date.now();
const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
const folder = mkdtempSync(join(tmpdir(), "custody-saml-unasked-"));
const idp = await createSamlProvider(clock.nowMs);
const keys = await openSamlKeys(folder, clock);
after(() => {
  idp[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

function gateway(idpInitiated: boolean) {
  const provider = {
    name: "corp",
    entityId: idp.entityId,
    ssoUrl: idp.ssoUrl,
    certificateFiles: [idp.certificateFile],
    username: undefined,
    groups: "groups",
    groupsMaxAgeMs: 60 * MINUTE_MS,
    signed: "assertion" as const,
    encrypted: false,
    idpInitiated,
    url: undefined,
  };
  const baseUrl = "https://gw.example.com:7443";
  const providers = [provider];
  const saml = createSaml({
    providers,
    baseUrl,
    keys,
    clockSkewMs: 30_000,
    clock,
    random: randomBytes,
  });
  return { saml, responder: idp.responder(saml.metadata("corp")) };
}

const base64 = (xml: string) => Buffer.from(xml, "utf8").toString("base64");

describe("a sign-in that begins at the provider", () => {
  const unasked: SamlWords = { edit: (xml) => xml.replaceAll(/ InResponseTo="[^"]*"/g, "") };
  const isRefused = { code: "unauthenticated" };

  test("is refused unless the operator allows it", async () => {
    const { saml, responder } = gateway(false);
    const response = base64(await responder.respond("_none", unasked));
    await assert.rejects(saml.answer("corp", response, undefined), isRefused);
    await assert.rejects(saml.answer("corp", response, "anything"), isRefused);
  });

  test("gives a code that needs no verifier, once and soon, and an assertion to be spent once", async () => {
    const { saml, responder } = gateway(true);
    const response = base64(await responder.respond("_none", unasked));
    const shown = async () => {
      const answer = await saml.answer("corp", response, "a landing page of the provider's");
      assert.ok(answer.kind === "shown");
      return answer.code;
    };
    const code = await shown();
    const principal = saml.redeem(new Secret(`${code}.`));
    assert.equal(principal.id, "corp/engineer@example.com");
    assert.throws(() => saml.redeem(new Secret(`${code}.`)), isRefused);
    const again = saml.redeem(new Secret(`${await shown()}.`));
    // The same assertion: sign-ins.ts takes it once.
    assert.equal(again.voucher?.tokenId, principal.voucher?.tokenId);
    assert.equal(again.voucher?.oneTime, true);
    const late = await shown();
    nowMs += 2 * MINUTE_MS;
    assert.throws(() => saml.redeem(new Secret(`${late}.`)), isRefused);
    nowMs -= 2 * MINUTE_MS;
  });

  test("answers no request, is signed and is for us, as every other", async () => {
    const { saml, responder } = gateway(true);
    const asked = base64(await responder.respond("_another"));
    await assert.rejects(saml.answer("corp", asked, undefined), isRefused);
    const inside: SamlWords = {
      edit: (xml) => xml.replace(/ InResponseTo="[^"]*"/, ""),
    };
    const half = base64(await responder.respond("_another", inside));
    await assert.rejects(saml.answer("corp", half, undefined), isRefused);
    const elsewhere = { ...unasked, audience: "https://other.example.com" };
    const foreign = base64(await responder.respond("_none", elsewhere));
    await assert.rejects(saml.answer("corp", foreign, undefined), isRefused);
    const altered = (await responder.respond("_none", unasked)).replace("engineer@", "admin@");
    await assert.rejects(saml.answer("corp", base64(altered), undefined), isRefused);
  });
});
