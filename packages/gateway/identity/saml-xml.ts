// XML text to elements, by the parser that the signature library uses too. Its own types would bring the
// browser's DOM into every file of the project, so what is used of it is typed here, and no more.

import { createRequire } from "node:module";

export interface XmlNode {
  readonly nodeType: number;
  readonly parentNode: XmlNode | null;
  readonly firstChild: XmlNode | null;
  readonly nextSibling: XmlNode | null;
  readonly textContent: string | null;
  toString(): string;
}

export interface Element extends XmlNode {
  readonly namespaceURI: string | null;
  readonly localName: string;
  readonly attributes: ArrayLike<{ readonly name: string; readonly value: string }>;
  hasAttribute(name: string): boolean;
  getAttribute(name: string): string | null;
}

interface XmlLibrary {
  readonly DOMParser: new (options: {
    readonly errorHandler: Readonly<
      Record<"warning" | "error" | "fatalError", (why: string) => never>
    >;
  }) => {
    parseFromString(text: string, type: string): { readonly documentElement: Element | null };
  };
}

const { DOMParser }: XmlLibrary = createRequire(import.meta.url)("@xmldom/xmldom");

/** null: it is empty. Throws an Error for what is not well-formed, were it only a warning. */
export function parseDocument(text: string): Element | null {
  const fail = (why: string): never => {
    throw new Error(why);
  };
  const errorHandler = { warning: fail, error: fail, fatalError: fail };
  return new DOMParser({ errorHandler }).parseFromString(text, "text/xml").documentElement;
}
