"""Changes a tree until its standard input ends; then writes how often it did so to standard output."""
import os, select, sys

os.chdir(sys.argv[1])
log = open("log", "a")
count = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    count += 1
    log.write(f"{count}\n")
    log.flush()
    with open("new", "w") as file:
        file.write(f"{count}")
    os.rename("new", f"file-{count % 100}")
    if count % 3 == 0 and os.path.exists("file-1"):
        os.unlink("file-1")
    os.chmod("log", 0o600 + count % 64)
print(count, flush=True)
