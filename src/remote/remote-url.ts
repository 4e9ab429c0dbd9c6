/** Addresses of remote repositories: a URL, or several of mirrors with one content, as `https://a/x|https://b/x`. */
import { isIP } from 'node:net';
import { CfsError } from '../base/error.ts';
import { isPrivateAddress } from './private-address.ts';

/** A repository on the network. */
export interface RemoteAddress {
  /** As it was given, for messages. It has no credentials. */
  readonly text: string;
  /** Their paths end with a slash. At least one. */
  readonly mirrors: readonly URL[];
  /** After `#`: the name of an image there. */
  readonly ref: string | undefined;
  /** After `@`: the id of an image there, 64 hexadecimal digits. */
  readonly id: string | undefined;
}

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;
export const REF_RULE = 'letters, digits and ._+-, with slashes in between';
/** Names of images in a remote repository. */
const REF = /^[A-Za-z0-9][A-Za-z0-9._+-]*(?:\/[A-Za-z0-9][A-Za-z0-9._+-]*)*$/;
const REF_MAX = 200;
/** Files that are being written have such names until they are complete. */
export const UNFINISHED_NAME: RegExp = /\.[0-9a-f]{12}\.tmp$/;

/** Whether a word names something on the network, and not a directory. */
export const isRemote = (word: string): boolean => SCHEME.test(word);

export const isRefName = (name: string): boolean =>
  REF.test(name) && name.length <= REF_MAX && !UNFINISHED_NAME.test(name);

/**
 * Parses `URL[|URL…][#REF|@ID]`.
 * @param insecure permits `http://` to other machines: contents are verified anyway, but who is on the wire learns what
 *   is read
 * @throws CfsError (usage)
 */
export function parseRemoteAddress(word: string, insecure = false): RemoteAddress {
  const [, text = word, ref, id] = /^(.*?)(?:#([^#]*)|@([0-9a-fA-F]{64}))?$/s.exec(word) ?? [];
  if (ref !== undefined && !isRefName(ref)) {
    throw refused(word, `"${ref}" is not a name of an image: ${REF_RULE}`);
  }
  const mirrors = text.split('|').map((part) => parseMirror(word, part, insecure));
  return { text, mirrors, ref, id: id?.toLowerCase() };
}

function parseMirror(word: string, part: string, insecure: boolean): URL {
  const scheme = SCHEME.exec(part)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== 'https' && scheme !== 'http') {
    throw refused(word, `"${scheme}" is not known: https and http are`);
  }
  let url: URL;
  try {
    url = new URL(part);
  } catch {
    throw refused(word, 'it is not a URL');
  }
  // the words of a command are readable by everybody
  if (url.username !== '' || url.password !== '') throw refused(word, 'it has a user name or a password');
  if (url.search !== '' || url.hash !== '') throw refused(word, 'it has a query or a fragment');
  if (url.protocol === 'http:' && !insecure && !isLoopback(url.hostname)) {
    throw new CfsError('usage', `Cannot use ${word}: http to another machine is not encrypted`, {
      hint: 'Take https, or permit it by `insecure`: contents are verified, but others on the network learn which.',
    });
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

function isLoopback(host: string): boolean {
  const address = host.replace(/^\[|\]$/g, '');
  return host === 'localhost' || (isIP(address) !== 0 && isPrivateAddress(address, 'loopback'));
}

const refused = (word: string, reason: string): CfsError => new CfsError('usage', `Cannot use ${word}: ${reason}`);
