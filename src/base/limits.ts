/** Errors that are caused by a limit, and their remedies. */

const ADVICE: Readonly<Record<string, string>> = {
  EMFILE: "this process may open no more files. Raise the limit ('ulimit -n', RLIMIT_NOFILE; LimitNOFILE= of systemd).",
  ENFILE: 'the machine may open no more files. Raise fs.file-max.',
  EAGAIN:
    "no more processes or threads may be started. Raise the limit ('ulimit -u', RLIMIT_NPROC; pids.max of a container, TasksMax= of systemd).",
  ENOMEM: 'there is not enough memory.',
};

/** The reason of a failure, if it is a limit: a sentence that names the limit, and how to raise it. */
export function limitReason(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  // if node cannot start a thread, only the message has the name of the error
  const name = Object.keys(ADVICE).find((known) => known === code || error.message.includes(known));
  return name && ADVICE[name];
}
