/** Errors that come of a limit, and what to do about them. */

const ADVICE: Readonly<Record<string, string>> = {
  EMFILE: "this process may open no more files. Raise the limit ('ulimit -n', RLIMIT_NOFILE; LimitNOFILE= of systemd).",
  ENFILE: 'the machine may open no more files. Raise fs.file-max.',
  EAGAIN:
    "no more processes or threads may be started. Raise the limit ('ulimit -u', RLIMIT_NPROC; pids.max of a container, TasksMax= of systemd).",
  ENOMEM: 'there is not enough memory.',
};

/** Why something failed, where a limit is the reason: a sentence that says which, and how to raise it. */
export function limitReason(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  // a thread of node that cannot be started has the name of the error in its message alone
  const name = Object.keys(ADVICE).find((known) => known === code || error.message.includes(known));
  return name && ADVICE[name];
}
