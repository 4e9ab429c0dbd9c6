/** Pairs of trees for fast-check; one tree is made by edits of the other. */
import fc from 'fast-check';
import { HASH_ALGORITHMS } from '../../../src/base/digest.ts';
import { type Attributes, type Body, type Inode, type Link, PLAIN, type Tree, xattr } from './model.ts';

/** Few values for each attribute, so that inodes made separately are often the same. */
const fewAttributes: fc.Arbitrary<Attributes> = fc
  .record({
    mode: fc.constantFrom(0o644, 0o600),
    uid: fc.constantFrom(0, 0, 0, 7),
    gid: fc.constantFrom(0, 0, 0, 7),
    mtime: fc.constantFrom(PLAIN.mtime, PLAIN.mtime, -1),
    mtimeNsec: fc.constantFrom(5, 5, 6),
    xattrs: fc.constantFrom([], [], [xattr('user.a', '1')], [xattr('user.a', ''), xattr('user.b', '1')]),
  })
  .chain((attributes) => fc.constantFrom(PLAIN, PLAIN, attributes));

/** 65,537 bytes are two blocks: an image has more than one hash of such a content. */
const fewContents = fc
  .tuple(fc.constantFrom(0, 1, 2, 65536, 65537), fc.constantFrom(7, 8))
  .map(([length, fill]) => new Uint8Array(length).fill(fill));

const fewBodies: fc.Arbitrary<Body> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.tuple(fewContents, fc.constantFrom('inline', 'object')).map(
      ([content, stored]): Body => ({
        type: 'file',
        content,
        stored: content.length > 65536 ? 'object' : stored,
      }),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('a', 'b').map((text): Body => ({ type: 'symlink', target: Buffer.from(text) })),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constantFrom('character', 'block'), device: fc.constantFrom(0, 259) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constantFrom('fifo', 'socket') }) },
);

/** Names that sort around each other and around the slash; one of them is not UTF-8. */
const fewNames: fc.Arbitrary<Uint8Array> = fc
  .constantFrom('a', 'b', 'a!', 'aa', 'c', '\xff')
  .map((text) => Buffer.from(text, 'latin1'));

interface Place {
  readonly parent: number;
  readonly name: Uint8Array;
}

interface Planned {
  readonly attributes: Attributes;
  readonly body: Body;
  readonly places: readonly Place[];
}

const fewPlaces = fc.record({ parent: fc.nat({ max: 100 }), name: fewNames });

const plannedDirectory: fc.Arbitrary<Planned> = fc.record({
  attributes: fewAttributes,
  body: fc.constant<Body>({ type: 'directory' }),
  places: fc.tuple(fewPlaces),
});

const plannedLeaf: fc.Arbitrary<Planned> = fc.record({
  attributes: fewAttributes,
  body: fewBodies,
  places: fc.array(fewPlaces, { minLength: 1, maxLength: 3 }),
});

/** One step from a tree to its next version; the numbers are indexes, modulo the number of inodes or directories. */
type Edit =
  | { readonly edit: 'add'; readonly planned: Planned }
  | { readonly edit: 'copy' | 'remove' | 'split'; readonly inode: number; readonly place: Place }
  | { readonly edit: 'move' | 'link'; readonly inode: number; readonly place: Place }
  | { readonly edit: 'attributes'; readonly inode: number; readonly attributes: Attributes }
  | { readonly edit: 'body'; readonly inode: number; readonly body: Body };

const number = fc.nat({ max: 1000 });

const anyEdit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ edit: fc.constant('add' as const), planned: fc.oneof(plannedDirectory, plannedLeaf) }),
  fc.record({ edit: fc.constantFrom('copy', 'remove', 'split'), inode: number, place: fewPlaces }),
  {
    weight: 3,
    arbitrary: fc.record({ edit: fc.constantFrom('move', 'move', 'link'), inode: number, place: fewPlaces }),
  },
  fc.record({ edit: fc.constant('attributes' as const), inode: number, attributes: fewAttributes }),
  fc.record({ edit: fc.constant('body' as const), inode: number, body: fewBodies }),
);

/** An inode of a tree that is being edited: as in `Tree`, with links to inodes instead of numbers. */
interface Draft {
  attributes: Attributes;
  body: Body;
  links: { parent: Draft; name: Uint8Array }[];
}

function draftOf(tree: Tree): Draft[] {
  const drafts = tree.inodes.map(({ attributes, body }): Draft => ({ attributes, body, links: [] }));
  tree.inodes.forEach(({ links }, i) => {
    const draft = drafts[i] as Draft;
    draft.links = links.map(({ parent, name }) => ({ parent: drafts[parent] as Draft, name }));
  });
  return drafts;
}

const isDirectory = ({ body }: Draft): boolean => body.type === 'directory';

/** True if `draft` is `above` or lies below it. */
function isBelow(draft: Draft, above: Draft): boolean {
  for (let at: Draft | undefined = draft; at !== undefined; at = at.links[0]?.parent) if (at === above) return true;
  return false;
}

/** The tree of the drafts, without names that their directory already has and inodes that the root does not lead to. */
function treeOfDraft(hash: Tree['hash'], drafts: readonly Draft[]): Tree {
  const root = drafts[0] as Draft;
  const kept = new Map<Draft, Link[]>([[root, []]]);
  const taken = new Set<string>();
  const reached = [root];
  const numbers = new Map<Draft, number>([[root, 0]]);
  for (let parent = reached.shift(); parent !== undefined; parent = reached.shift()) {
    for (const draft of drafts) {
      for (const link of draft.links) {
        if (link.parent !== parent) continue;
        const key = `${numbers.get(parent)} ${Buffer.from(link.name).toString('hex')}`;
        if (taken.has(key)) continue;
        taken.add(key);
        if (!kept.has(draft)) {
          numbers.set(draft, kept.size);
          kept.set(draft, []);
          if (isDirectory(draft)) reached.push(draft);
        }
        kept.get(draft)?.push({ parent: numbers.get(parent) as number, name: link.name });
      }
    }
  }
  const inodes = [...kept].map(([{ attributes, body }, links]): Inode => ({ attributes, body, links }));
  return { hash, inodes };
}

function addPlanned(drafts: Draft[], { attributes, body, places }: Planned): void {
  const directories = drafts.filter(isDirectory);
  const links = places.map(({ parent, name }) => ({ parent: directories[parent % directories.length] as Draft, name }));
  drafts.push({ attributes, body, links });
}

function apply(drafts: Draft[], step: Edit): void {
  if (step.edit === 'add') {
    addPlanned(drafts, step.planned);
    return;
  }
  const draft = drafts[step.inode % drafts.length] as Draft;
  if (step.edit === 'attributes') draft.attributes = step.attributes;
  if (draft === drafts[0]) return; // the root stays in its place, and stays a directory
  if (step.edit === 'attributes') return;
  if (step.edit === 'body') {
    draft.body = step.body;
    return;
  }
  const directories = drafts.filter((other) => isDirectory(other) && !isBelow(other, draft));
  const place = {
    parent: directories[step.place.parent % directories.length] as Draft,
    name: step.place.name,
  };
  const last = draft.links.length - 1;
  if (step.edit === 'remove') draft.links.splice(last, 1);
  if (step.edit === 'move') draft.links[Math.max(last, 0)] = place;
  if (isDirectory(draft)) return;
  if (step.edit === 'link') draft.links.push(place);
  if (step.edit === 'copy') drafts.push({ ...draft, links: [place] });
  if (step.edit === 'split' && last > 0) drafts.push({ ...draft, links: draft.links.splice(last, 1) });
}

const hashes = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...HASH_ALGORITHMS).map((hash) => [hash, hash] as const) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(...HASH_ALGORITHMS), fc.constantFrom(...HASH_ALGORITHMS)) },
);

/** A tree and a later version of it. */
export const versions: fc.Arbitrary<readonly [old: Tree, now: Tree]> = fc
  .record({
    hashes,
    directories: fc.array(plannedDirectory, { maxLength: 6 }),
    leaves: fc.array(plannedLeaf, { maxLength: 12 }),
    edits: fc.array(anyEdit, { maxLength: 6 }),
  })
  .map((raw) => {
    const drafts: Draft[] = [{ attributes: PLAIN, body: { type: 'directory' }, links: [] }];
    for (const planned of [...raw.directories, ...raw.leaves]) addPlanned(drafts, planned);
    const old = treeOfDraft(raw.hashes[0], drafts);
    const next = draftOf(old);
    for (const edit of raw.edits) apply(next, edit);
    return [old, treeOfDraft(raw.hashes[1], next)] as const;
  });
