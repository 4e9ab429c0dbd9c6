/** Addresses that are not of the public network: a server there may trust all that can reach it. */
import { BlockList, isIP } from 'node:net';

const LOOPBACK: readonly (readonly [string, number])[] = [
  ['127.0.0.0', 8],
  ['::1', 128],
];
/** RFC 1122, 1918, 3927, 4193, 4291, 6598. */
const PRIVATE: readonly (readonly [string, number])[] = [
  ...LOOPBACK,
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['::', 128],
  ['fc00::', 7],
  ['fe80::', 10],
];

const family = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

function listOf(networks: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [address, bits] of networks) list.addSubnet(address, bits, family(address));
  return list;
}

type Kind = 'loopback' | 'private';

const NETWORKS = { loopback: LOOPBACK, private: PRIVATE };
/** Made at the first use: most mounts have none. */
const lists: Partial<Record<Kind, BlockList>> = {};

/**
 * Whether a numeric address is of this machine (`loopback`), or of a private or link-local network (`private`, which
 * includes the other). IPv4 addresses written as IPv6 are taken for what they mean.
 */
export function isPrivateAddress(address: string, kind: Kind = 'private'): boolean {
  lists[kind] ??= listOf(NETWORKS[kind]);
  return lists[kind].check(address, family(address));
}
