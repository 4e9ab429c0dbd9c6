#!/usr/bin/env node
/** cfs-info: the contents of an image, without a mount; its signature; the sources of mounts; handles of files. */
import { type Command, Option } from 'commander';
import { oneLine } from '../src/base/bytes.ts';
import { formatImageDigest } from '../src/base/image-digest.ts';
import { jsonOf } from '../src/base/json-text.ts';
import { imageVerityDigest } from '../src/image/image-file.ts';
import { walkPaths, writeDump } from '../src/manifest/dump.ts';
import { type ManifestTables, objectCount } from '../src/manifest/tables.ts';
import { EXIT, type ExitStatus, makeCommand, prepareCommands, printError, runTool, takeOtherCommands } from './cli.ts';
import { colorOption } from './color.ts';
import { formatCounted } from './format.ts';
import { type DiffOptions, diff } from './info/diff.ts';
import { addDu } from './info/du.ts';
import { withRemotesOf } from './info/fetched-objects.ts';
import { addFileCommands } from './info/file-commands.ts';
import { showHandles, showImageHandles } from './info/handle.ts';
import { describeInode, jsonOfInode } from './info/inode.ts';
import { type ListOptions, list } from './info/list.ts';
import { addMountCommands } from './info/mount-commands.ts';
import { listMissing, listObjects, missingObjects } from './info/objects.ts';
import { showOpened } from './info/open-handle.ts';
import { answerEach, tryEach } from './info/operands.ts';
import { Output, OutputClosed } from './info/output.ts';
import { findPath } from './info/paths.ts';
import { readImage } from './info/read-image.ts';
import { type RepositoryWords, takeRepositories } from './info/repositories.ts';
import { type SignOptions, signImage, verifyImage } from './info/signatures.ts';
import { tablesOfBoth } from './info/tables-of.ts';
import { versionReport, versionText } from './version.ts';

const EXAMPLES = `  cfs-info id debian.cfs                     the image id, to name exactly this image
  cfs-info ls -l debian.cfs /etc             a directory
  cfs-info ls -R debian.cfs | grep '/man1/'  every path
  cfs-info stat debian.cfs /usr/bin/env      everything about a file
  cfs-info cat debian.cfs /etc/passwd        the content of a file, verified; needs no mount
  cfs-info extract -C copy debian.cfs /etc   a copy of it, with owners, times, xattrs and holes
  cfs-info tar debian.cfs > debian.tar       all of it as an archive: the same image, the same bytes
  cfs-info objects debian.cfs                the digest and size of each content
  cfs-info missing --repo /srv/cfs debian.cfs && echo complete
  cfs-info du -d 2 debian.cfs /usr           the space of directories: total, unique and shared bytes
  cfs-info du --ncdu debian.cfs > debian.json  all files, to look through with 'ncdu -f debian.json'
  cfs-info dump debian.cfs > debian.dump     the whole tree as text, as mkcomposefs --from-file reads it
  cfs-info diff old.cfs new.cfs /etc         what was added, removed, changed and renamed there
  cfs-info diff --tree old.cfs new.cfs       the same as a tree, with the bytes gained and lost
  cfs-info diff --stat old.cfs mnt           how much differs between an image and what is mounted
  cfs-info sign --key key.pem debian.cfs     writes debian.cfs.sig
  cfs-info verify --key pub.pem debian.cfs   whether one of these keys has signed it
  cfs-info mounts                            what is mounted on this machine
  cfs-info sources --json /mnt > sources.json; umount /mnt; cfs-mount --from sources.json
  cfs-info changes /mnt                      what a writable mount changed in its image
  cfs-info snapshot /mnt saved               a copy of its upper layer: saved/upper and saved/work
  cfs-info stats /mnt                        what a mount has done since its server started
  cfs-info top --count 3 /mnt                what it does now: requests, times, files
  cfs-info log /mnt                          what it refused to serve, and why
  cfs-info where /mnt/usr/bin/env            the object of a file, and which repositories have it
  cfs-info handle /mnt/etc/passwd            the handle of a file in a mount, or with --image in an image
  cfs-info open-handle /mnt 0x81:f8aa02003aa919227a05e036
  cfs-info version --json                    what this machine can do, for reports of bugs
  cfs-info config                            the configuration, and where each value comes from
  cfs-info schema cfs-info stat              what --json prints, as JSON Schema

A PATH in an image begins at the root of the image. A name that cannot be typed can be written as it is shown, \\xHH
for a byte. In --json, text that is not UTF-8 is shown that way too, and has a second key that ends in
"Base64" with the exact bytes.`;

const DIFF_HELP = `
Each of the two is an image, or a directory on which one is mounted.
  A PATH                added
  D PATH                removed
  M PATH  WHAT          changed: type, content, mode, owner, mtime, xattrs, links (which names are one file)
  R OLD -> NEW  WHAT    renamed; "(N below)": with what is below it, of which only changes are shown
docs/diff.md says when something is taken for renamed.`;

interface JsonOption {
  readonly json?: true;
}

/** Runs the command line; returns the exit status. */
async function main(argv: readonly string[]): Promise<ExitStatus> {
  const out = new Output();
  let status: ExitStatus = EXIT.ok;
  const program = makeCommand(
    'cfs-info',
    'Shows the contents of images, the mounts of this machine, and handles of files. Signs images.',
    EXAMPLES,
  );
  addCommands(program, out, (result) => {
    status = result;
  });
  prepareCommands(program, argv);
  try {
    await program.parseAsync(argv);
    out.flush();
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error;
  }
  return status;
}

function addCommands(program: Command, out: Output, setStatus: (status: ExitStatus) => void): void {
  const add = (usage: string, description: string): Command => {
    const command = program.command(usage).description(description);
    return command.option('--json', 'one JSON value on standard output');
  };

  add('id <image...>', 'show the id of each image: the BLAKE3 digest of its manifest')
    .option(
      '--fsverity',
      'show its fs-verity digest instead, which -o digest= also accepts; it is the digest of the sealed image',
    )
    .action((images: string[], { json, fsverity }: JsonOption & { fsverity?: true }) =>
      setStatus(showIds(images, { json: json === true, fsverity: fsverity === true }, out)),
    );

  add('ls <image> [path]', 'list a directory, or one file')
    .option('-R, --recursive', 'list everything below it, as absolute paths')
    .option('-l, --long', 'mode, links, uid, gid, size or device number, time (UTC), name, target')
    .option('-p, --slash', 'a slash after the name of each directory')
    .addOption(new Option('-0, --null', 'unescaped names, each line ended by NUL').conflicts('json'))
    .action((image: string, path: string | undefined, options: Partial<ListOptions>) => {
      const { recursive = false, long = false, slash = false, null: raw = false, json = false } = options;
      const { tables } = readImage(image);
      list(tables, findPath(tables, image, path ?? '/'), { recursive, long, slash, null: raw, json }, out);
    });

  add('stat <image> <path...>', 'show everything about a file').action(
    (image: string, paths: string[], { json }: JsonOption) => setStatus(showStat(image, paths, json === true, out)),
  );

  addFileCommands(program, out, setStatus);

  add('objects <image>', 'list its objects: digest, size, number of inodes with this content').action(
    (image: string, { json }: JsonOption) => listObjects(readImage(image).tables, json === true, out),
  );

  takeRepositories(
    add(
      'missing <image>',
      `list the objects that no repository has: digest, size; exit status ${EXIT.found} if there are any`,
    ),
  ).action(async (image: string, { json, ...words }: JsonOption & RepositoryWords) =>
    setStatus(await showMissing(image, words, json === true, out)),
  );

  addDu(program, out, setStatus);

  add('dump <image> [path...]', 'write the tree, or these parts of it, in the format of composefs-dump(5)').action(
    (image: string, paths: string[], { json }: JsonOption) => setStatus(dump(image, paths, json === true, out)),
  );

  add(
    'diff <old> <new> [path...]',
    `list the differences between two images; exit status ${EXIT.found} if there are any`,
  )
    .addOption(new Option('--stat', 'print counts, and the bytes of new objects').conflicts('tree'))
    .option('--tree', 'show changes in their directories, with the bytes that each directory gained and lost')
    .addOption(colorOption())
    .addOption(
      new Option('-0, --null', 'letter, changes, old path, new path, unescaped, each ended by NUL').conflicts([
        'json',
        'stat',
        'tree',
      ]),
    )
    .addHelpText('after', DIFF_HELP)
    .action(async (old: string, now: string, paths: string[], options: Partial<DiffOptions>) => {
      const { stat = false, tree = false, null: raw = false, json = false, color = 'auto' } = options;
      const [before, after] = await tablesOfBoth(old, now);
      const images = [
        { name: old, tables: before },
        { name: now, tables: after },
      ] as const;
      setStatus(diff(...images, paths, { stat, tree, null: raw, json, color }, () => setStatus(EXIT.found), out));
    });

  addSignatureCommands(add, out);
  addHandleCommands(add, out, setStatus);
  addMountCommands(add, out, setStatus);

  add('version', 'show the version, and what this machine can do, for reports of bugs').action(
    ({ json }: JsonOption) => {
      out.text(json === true ? `${jsonOf(versionReport())}\n` : versionText('cfs-info'));
    },
  );

  add('config', 'show the values of the configuration files and variables, and where each comes from').action(
    async ({ json }: JsonOption) => {
      const { showConfig } = await import('./info/config.ts');
      showConfig(json === true, out);
    },
  );

  program
    .command('schema [command...]')
    .description('print the JSON Schema of the output of a command with --json, or all of them by command')
    .allowUnknownOption()
    .action(async (words: string[]) => {
      // a file of its own: other commands do not need it
      const { showSchema } = await import('./info/schema.ts');
      showSchema(words, out);
    });

  // for a better message than commander's
  takeOtherCommands(program)
    .helpCommand('help [command]', 'show the help of a command')
    .usage('COMMAND [options] IMAGE …');
}

function addSignatureCommands(add: (usage: string, description: string) => Command, out: Output): void {
  add('sign <image>', 'sign an image: COSE_Sign1 over its id, beside it as IMAGE.sig')
    .requiredOption('--key <KEY.pem>', 'a private key, Ed25519 or ECDSA P-256')
    .option('--passphrase-file <file>', 'its first line decrypts the key (default: $CFS_PASSPHRASE)')
    .option('--embed-signature', 'put the signature into the image file itself')
    .action((image: string, options: SignOptions) => signImage(image, options, out));

  add('verify <image>', `check that an image is signed; exit status ${EXIT.image} if it is not`)
    .option(
      '--key <PUB.pem>',
      'a trusted public key (repeatable: a signature by any of them is enough; default: those of cfs.conf)',
      collect,
      [],
    )
    .action((image: string, { key, json }: JsonOption & { key: readonly string[] }) =>
      verifyImage(image, key, json === true, out),
    );
}

function addHandleCommands(
  add: (usage: string, description: string) => Command,
  out: Output,
  setStatus: (status: ExitStatus) => void,
): void {
  interface Options extends JsonOption {
    readonly image?: string;
    readonly connectable?: true;
  }
  add('handle <path...>', 'show the handle of each file in a mount, as name_to_handle_at(2) returns it')
    .option('--image <image>', 'compute the handles of files in this image, without a mount')
    .option('--connectable', 'include the parent directory, so that the file opens with a path (Linux 6.13)')
    .action((paths: string[], { image, ...options }: Options) => {
      const { json = false, connectable = false } = options;
      const shown = { json, connectable };
      if (image === undefined) setStatus(showHandles(paths, shown, out));
      else setStatus(showImageHandles(readImage(image).tables, image, paths, shown, out));
    });

  add(
    'open-handle <mount> <handle>',
    'open a handle in the mount of this path; show where the file is, and its stat',
  ).action((mount: string, handle: string, { json }: JsonOption) => showOpened(mount, handle, json === true, out));
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function showIds(
  images: readonly string[],
  { json, fsverity }: { json: boolean; fsverity: boolean },
  out: Output,
): ExitStatus {
  return answerEach(images, json, out, (image) => {
    const { id } = readImage(image);
    const digest = fsverity ? formatImageDigest(imageVerityDigest(image)) : undefined;
    const shown = digest ?? id;
    if (json) out.jsonElement({ image, id, fsverity: digest });
    else out.text(images.length === 1 ? `${shown}\n` : `${shown}  ${oneLine(image)}\n`);
  });
}

function showStat(image: string, paths: readonly string[], json: boolean, out: Output): ExitStatus {
  const { tables } = readImage(image);
  return answerEach(paths, json, out, (argument, answered) => {
    const { row, path } = findPath(tables, image, argument);
    if (json) out.jsonElement(jsonOfInode(tables, row, path));
    else out.text((answered > 0 ? '\n' : '') + describeInode(tables, row, path));
  });
}

async function showMissing(image: string, words: RepositoryWords, json: boolean, out: Output): Promise<ExitStatus> {
  const { id, tables } = readImage(image);
  const { missing, where } = await withRemotesOf(words, tables.header.hash, async (locals, remotes, signal) => ({
    missing: await missingObjects({ id, tables }, locals, remotes, signal),
    where: [...locals.map(({ path }) => path), ...remotes.map(({ remote }) => remote.address.text)].join(', '),
  }));
  const { objects, bytes } = listMissing(tables, missing, json, out);
  if (objects === 0) return EXIT.ok;
  out.flush(); // the list before the sum, if both go to one terminal
  const all = objectCount(tables);
  printError(
    'cfs-info',
    `${objects} of ${formatCounted(all, 'object')} (${formatCounted(bytes, 'byte')}) of ${image} ${objects === 1 ? 'is' : 'are'} missing from ${where}`,
  );
  return EXIT.found;
}

function dump(image: string, paths: readonly string[], json: boolean, out: Output): ExitStatus {
  const { tables } = readImage(image);
  const selected: Uint8Array[] = paths.length === 0 ? [Buffer.from('/')] : [];
  const status = tryEach(paths, json, out, (path) => void selected.push(findPath(tables, image, path).path));
  if (json) dumpJson(tables, selected, out);
  else if (selected.length > 0) writeDump(tables, (line) => out.text(line), selected);
  return status;
}

function dumpJson(tables: ManifestTables, paths: readonly Uint8Array[], out: Output): void {
  walkPaths(tables, paths, (row, path) => out.jsonElement(jsonOfInode(tables, row, path)));
  out.jsonEnd();
}

await runTool('cfs-info', main);
