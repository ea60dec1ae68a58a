// SAML 2.0 messages as strict XML: what is read here has one meaning for every parser, and a signature in
// it covers the whole of the element it stands in (SAML core section 5.4, XML Signature 1.1). Whatever is
// allowed by those specifications but not needed is refused before any of it is looked up or computed:
//
//   - document types, comments, CDATA and processing instructions: two parsers must not read two texts
//   - more than one response or assertion, at any place; an identifier that is given twice
//   - a signature that is not a child of what it signs, has several SignedInfo or References, other
//     transforms than enveloped and exclusive canonicalisation, or an algorithm that is not listed
//
// Owns no state.

import { GatewayError } from "../base/errors.ts";
import { type Element, parseDocument } from "./saml-xml.ts";

export const SAML = "urn:oasis:names:tc:SAML:2.0:assertion";
export const SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol";
const DSIG = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED = `${DSIG}enveloped-signature`;

const SIGNATURES = new Set([
  "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
  "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
]);
const DIGESTS = new Set([
  "http://www.w3.org/2001/04/xmlenc#sha256",
  "http://www.w3.org/2001/04/xmlenc#sha512",
]);
// Authenticated only: with CBC, an answer to altered ciphertext tells the plaintext.
const CIPHERS = new Set([
  "http://www.w3.org/2009/xmlenc11#aes128-gcm",
  "http://www.w3.org/2009/xmlenc11#aes256-gcm",
]);
const KEY_TRANSPORTS = new Set(["http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"]);

const MAX_TEXT_LENGTH = 196_608;
/**
 * More than 512 groups with all that a provider writes around each. Parsing, looking for signatures and
 * canonical form go over all of it many times, and anybody may send a response.
 */
const MAX_ELEMENTS = 1200;
const MAX_ATTRIBUTES = 3000;
const MAX_DEPTH = 64;

export interface SamlResponse {
  readonly root: Element;
  /** Its one assertion, or what is to be decrypted to one. */
  readonly assertion: Element;
  readonly isEncrypted: boolean;
}

/** The message of the HTTP-POST binding, base64. Throws GatewayError "unauthenticated". */
export function decodeMessage(base64: string): string {
  const compact = base64.replace(/[\r\n]/g, "");
  const bytes = Buffer.from(compact, "base64");
  if (bytes.toString("base64") !== compact) throw samlRefused("it is not base64");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (thrown) {
    throw samlRefused("it is not UTF-8", thrown);
  }
}

/** Throws GatewayError "unauthenticated" with what does not fit. */
export function readResponse(text: string): SamlResponse {
  const root = parseStrict(text);
  expectName(root, SAMLP, "Response");
  const all = elementsOf(root);
  const named = (name: string) => all.filter((element) => element.localName === name);
  const assertions = [...named("Assertion"), ...named("EncryptedAssertion")];
  const [assertion] = assertions;
  if (named("Response").length !== 1) throw samlRefused("it holds another response");
  if (assertion === undefined) throw samlRefused(statusOf(root));
  if (assertions.length > 1) throw samlRefused("it holds more than one assertion");
  const isEncrypted = assertion.localName === "EncryptedAssertion";
  expectName(assertion, SAML, isEncrypted ? "EncryptedAssertion" : "Assertion");
  if (assertion.parentNode !== root) throw samlRefused("its assertion is not where it belongs");
  const status = statusOf(root);
  if (status !== SUCCESS) throw samlRefused(status);
  checkSignatures(all, isEncrypted ? [root] : [root, assertion]);
  if (isEncrypted) checkEncryption(all);
  return { root, assertion, isEncrypted };
}

/** One assertion and nothing else: what was decrypted, or what was verified. Throws likewise. */
export function readAssertion(text: string): Element {
  const root = parseStrict(text);
  expectName(root, SAML, "Assertion");
  const all = elementsOf(root);
  if (all.some((one) => one !== root && ["Assertion", "Response"].includes(one.localName)))
    throw samlRefused("it holds more than one assertion");
  checkSignatures(all, [root]);
  return root;
}

export function childrenOf(parent: Element, namespace: string, name: string): readonly Element[] {
  return elementChildren(parent).filter(
    (child) => child.namespaceURI === namespace && child.localName === name,
  );
}

/** Throws when there is not exactly one. */
export function onlyChild(parent: Element, namespace: string, name: string): Element {
  const [child, ...others] = childrenOf(parent, namespace, name);
  if (child === undefined || others.length > 0)
    throw samlRefused(`its ${parent.localName} does not have exactly one ${name}`);
  return child;
}

/** The text of an element that holds nothing else. */
export function textIn(element: Element): string {
  if (elementChildren(element).length > 0)
    throw samlRefused(`its ${element.localName} holds more than text`);
  return element.textContent ?? "";
}

/** undefined: it is not there. */
export function attributeOf(element: Element, name: string): string | undefined {
  return element.hasAttribute(name) ? (element.getAttribute(name) ?? "") : undefined;
}

export function elementChildren(parent: Element): readonly Element[] {
  const children: Element[] = [];
  for (let node = parent.firstChild; node !== null; node = node.nextSibling)
    if (node.nodeType === ELEMENT_NODE) children.push(node as Element);
  return children;
}

export function samlRefused(why: string, cause?: unknown): GatewayError {
  return new GatewayError("unauthenticated", `this SAML response is not accepted: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}

const ELEMENT_NODE = 1;
const SUCCESS = "Success";

function parseStrict(text: string): Element {
  if (text.length > MAX_TEXT_LENGTH) throw samlRefused("it is too long");
  const body = text.replace(/^\uFEFF?(<\?xml [^<>?]*\?>)?\s*/, "");
  // In XML "<" begins markup wherever it stands, so this needs no parser.
  if (/<[!?]/.test(body))
    throw samlRefused("it holds a document type, a comment, CDATA or an instruction");
  if (/&(?!(?:lt|gt|amp|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)/.test(body))
    throw samlRefused("it holds an entity");
  if (body.split("<").length > MAX_ELEMENTS * 2) throw samlRefused("it has too many elements");
  // Namespaces count among them, which are looked up for each element anew.
  if ((body.match(/=\s*["']/g)?.length ?? 0) > MAX_ATTRIBUTES)
    throw samlRefused("it has too many attributes");
  let root: Element | null;
  try {
    root = parseDocument(body);
  } catch (thrown) {
    throw samlRefused("it is not well-formed XML", thrown);
  }
  if (root === null) throw samlRefused("it is empty");
  for (let node = root.nextSibling; node !== null; node = node.nextSibling)
    if ((node.textContent ?? "").trim() !== "" || node.nodeType === ELEMENT_NODE)
      throw samlRefused("something follows its end");
  checkIds(elementsOf(root));
  return root;
}

/** The element and all below it, in order. */
function elementsOf(root: Element): readonly Element[] {
  const all: Element[] = [];
  const walk = (element: Element, depth: number) => {
    if (depth > MAX_DEPTH) throw samlRefused("it is nested too deeply");
    if (all.push(element) > MAX_ELEMENTS) throw samlRefused("it has too many elements");
    for (const child of elementChildren(element)) walk(child, depth + 1);
  };
  walk(root, 0);
  return all;
}

/** Every spelling by which a library may look an identifier up. */
function checkIds(all: readonly Element[]): void {
  const seen = new Set<string>();
  for (const element of all)
    for (const attribute of Array.from(element.attributes)) {
      if (!/^(?:.*:)?id$/i.test(attribute.name)) continue;
      if (seen.has(attribute.value)) throw samlRefused("an identifier is given twice");
      seen.add(attribute.value);
    }
}

function expectName(element: Element, namespace: string, name: string): void {
  if (element.namespaceURI !== namespace || element.localName !== name)
    throw samlRefused(`there is no ${name} where one is expected`);
}

function statusOf(root: Element): string {
  const [status] = childrenOf(root, SAMLP, "Status");
  const code = status === undefined ? undefined : childrenOf(status, SAMLP, "StatusCode")[0];
  const word = /^urn:oasis:names:tc:SAML:2\.0:status:([A-Za-z]{1,40})$/.exec(
    (code && attributeOf(code, "Value")) ?? "",
  )?.[1];
  if (word === SUCCESS && childrenOf(root, SAMLP, "Status").length === 1) return SUCCESS;
  return word === undefined || word === SUCCESS
    ? "it says neither that the sign-in succeeded nor why not"
    : `the provider answered ${word}`;
}

function checkSignatures(all: readonly Element[], signable: readonly Element[]): void {
  for (const name of ["SignedInfo", "Reference", "SignatureValue", "DigestValue"])
    for (const element of all)
      if (element.localName === name && !isWithinSignature(element))
        throw samlRefused("a part of a signature stands outside of one");
  for (const signature of all.filter((element) => element.localName === "Signature")) {
    const parent = signable.find((element) => element === signature.parentNode);
    if (parent === undefined) throw samlRefused("a signature does not stand in what it signs");
    if (childrenOf(parent, DSIG, "Signature").length !== 1)
      throw samlRefused("something is signed twice");
    checkSignature(signature, parent);
  }
}

function isWithinSignature(element: Element): boolean {
  for (let at = element.parentNode; at !== null; at = at.parentNode)
    if (at.nodeType === ELEMENT_NODE && (at as Element).localName === "Signature") return true;
  return false;
}

function checkSignature(signature: Element, parent: Element): void {
  const parts = elementChildren(signature).map((child) => child.localName);
  if (parts.join() !== "SignedInfo,SignatureValue" && parts.join() !== KEYED)
    throw samlRefused("a signature has parts that it should not have");
  const info = onlyChild(signature, DSIG, "SignedInfo");
  const all = elementsOf(signature);
  const count = (name: string) => all.filter((element) => element.localName === name).length;
  for (const name of ["SignedInfo", "Reference", "DigestValue", "SignatureValue"])
    if (count(name) !== 1) throw samlRefused(`a signature does not have exactly one ${name}`);
  const reference = onlyChild(info, DSIG, "Reference");
  const id = attributeOf(parent, "ID");
  if (id === undefined || id === "" || attributeOf(reference, "URI") !== `#${id}`)
    throw samlRefused("a signature is not about the element it stands in");
  textIn(onlyChild(reference, DSIG, "DigestValue"));
  textIn(onlyChild(signature, DSIG, "SignatureValue"));
  expectAlgorithm(onlyChild(info, DSIG, "CanonicalizationMethod"), new Set([EXCLUSIVE]));
  expectAlgorithm(onlyChild(info, DSIG, "SignatureMethod"), SIGNATURES);
  expectAlgorithm(onlyChild(reference, DSIG, "DigestMethod"), DIGESTS);
  const transforms = childrenOf(onlyChild(reference, DSIG, "Transforms"), DSIG, "Transform");
  const wanted = [ENVELOPED, EXCLUSIVE];
  if (
    count("Transform") !== wanted.length ||
    wanted.some((one, index) => transforms[index]?.getAttribute("Algorithm") !== one)
  )
    throw samlRefused("a signature transforms what it signs in another way than is allowed");
}

const KEYED = "SignedInfo,SignatureValue,KeyInfo";

function checkEncryption(all: readonly Element[]): void {
  const named = (name: string) => all.filter((element) => element.localName === name);
  const isOnce = ["EncryptedData", "EncryptedKey"].every((name) => named(name).length === 1);
  if (!isOnce || named("CipherReference").length > 0 || named("RetrievalMethod").length > 0)
    throw samlRefused("its encryption is not one of a single key and its data");
  for (const method of named("EncryptionMethod")) {
    const isKey = (method.parentNode as Element | null)?.localName === "EncryptedKey";
    expectAlgorithm(method, isKey ? KEY_TRANSPORTS : CIPHERS);
  }
}

function expectAlgorithm(element: Element, allowed: ReadonlySet<string>): void {
  if (!allowed.has(attributeOf(element, "Algorithm") ?? ""))
    throw samlRefused(`its ${element.localName} is an algorithm that is not accepted`);
}
