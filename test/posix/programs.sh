#!/bin/bash
# Programs that change a root file system of Debian, in a chroot: `programs.sh ROOT STEP…`. Prints "ok STEP" for each
# step, or the end of its output. To be run in a mount namespace of its own.
root=$1
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive

packages() {
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends rsync libcap2-bin attr acl sqlite3 nginx-light iputils-ping less
  getcap /usr/bin/ping | grep cap_net_raw
  dpkg -V
  apt-get install -y -qq --reinstall coreutils libc-bin perl-base
  apt-get remove -y -qq less
  apt-get purge -y -qq --autoremove nginx-light
  apt-get upgrade -y -qq
  dpkg --audit
  dpkg -V
}
# of the packages that were installed
trees() {
  mkdir r1
  rsync -aHAX /usr/share/perl /etc /usr/bin r1/
  rsync -aHAX r1/ r2/
  test -z "$(rsync -aHAXnci --delete r1/ r2/)"
  rsync -aHAX --inplace --delete /etc/ r2/etc/
  cp /bin/ls capable
  setcap cap_net_raw+ep capable
  setfacl -m u:daemon:r capable
  setfacl -d -m u:daemon:rwx r1
  setfattr -n trusted.note -v 'of root' capable
  ln capable r1/linked
  mv capable r1
  tar --xattrs '--xattrs-include=*' --acls -cf t.tar r1
  mkdir out
  tar --xattrs '--xattrs-include=*' --acls -xpf t.tar -C out
  (cd r1 && getfattr -hRdm- . && getfacl -R .) >one
  (cd out/r1 && getfattr -hRdm- . && getfacl -R .) >other
  cmp one other
  echo >>out/r1/capable
  test -z "$(getcap out/r1/capable)"
  getcap r1/linked | grep cap_net_raw
}
sources() {
  git config --global user.email user@example.org
  git config --global user.name user
  git init -q g
  cd g
  for i in {1..100}; do echo "$i" >"f$i"; done
  git add .
  git commit -qm one
  git mv f1 g1
  git commit -qam two
  git gc -q --prune=now
  git fsck --full
  git clone -q . ../clone
  cd ../clone
  git checkout -q -b branch
  echo more >>f2
  git commit -qam three
  git worktree add -q ../worktree master
  git worktree remove ../worktree
  git fsck --full
  test -z "$(git status --porcelain)"
}
compiler() {
  printf '#include <stdio.h>\nint main() { puts("built"); }\n' >h.c
  for i in 1 2 3; do
    gcc -o h h.c
    ./h | grep built
  done
  strip h
  ./h
  for i in {1..10}; do echo "int f$i() { return $i; }" >"f$i.c"; done
  printf 'l.so: $(patsubst %%.c,%%.o,$(wildcard f*.c))\n\t$(CC) -shared -o $@ $^\nCFLAGS = -fPIC\n' >Makefile
  make -j2
  make -q
  touch f3.c
  test "$(make | grep -c 'f[0-9]*.c')" = 1
}
# exec and writing exclude each other: of files of both layers
busy() {
  cp /bin/sleep made
  for program in ./made /bin/sleep; do
    "$program" 1000 &
    until [[ $(readlink "/proc/$!/exe") == */"$(basename "$program")" ]]; do :; done
    ! (: >>"$program") 2>error
    grep 'Text file busy' error
    kill $!
    wait $! || true
    : >>"$program"
    "$program" 0
  done
  cp /bin/true written
  exec 7>>written
  ! ./written 2>error
  grep 'Text file busy' error
  exec 7>&-
  ./written
}
database() {
  python3 - <<'END'
import os, sqlite3
for mode in 'delete', 'truncate', 'persist', 'wal':
    for mapped in 0, 1 << 28:
        name = f'{mode}-{mapped}.db'
        db = sqlite3.connect(name, isolation_level=None)
        db.execute(f'pragma mmap_size={mapped}')
        assert db.execute(f'pragma journal_mode={mode}').fetchone()[0] == mode
        db.execute('create table t(a integer primary key, b)')
        db.execute('begin')
        db.executemany('insert into t(b) values(?)', ((os.urandom(30).hex(),) for _ in range(5000)))
        db.execute('commit')
        db.execute('update t set b = b || 1 where a % 3 = 0')
        db.execute('delete from t where a % 7 = 0')
        db.execute('vacuum')
        children = []
        for i in range(3):
            child = os.fork()
            if child == 0:
                own = sqlite3.connect(name, isolation_level=None, timeout=300)
                for _ in range(10):
                    own.execute('insert into t(b) values(?)', (f'of {i}',))
                os._exit(0)
            children.append(child)
        assert all(os.waitpid(child, 0)[1] == 0 for child in children)
        assert db.execute("select count(*) from t where b like 'of %'").fetchone()[0] == 30
        assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
END
}
mappings() {
  python3 - <<'END'
import mmap, os
for path in '/root/mapped', '/usr/bin/perl':
    with open(path, 'a+b') as f:
        if f.tell() == 0:
            f.truncate(1 << 20)
        m = mmap.mmap(f.fileno(), 0)
        m[100:105] = b'by it'
        assert os.pread(f.fileno(), 5, 100) == b'by it'
        os.pwrite(os.open(path, os.O_WRONLY), b'to it', 100)
        assert m[100:105] == b'to it'
        m.flush()
END
  test "$(tail -c +101 /usr/bin/perl | head -c 5)" = 'to it'
}
links() {
  mkdir many
  for i in {1..100}; do
    echo "$i" >"many/$i"
    for j in 1 2 3; do ln "many/$i" "many/$i.$j"; done
  done
  tar -cf many.tar many
  mkdir copy
  tar -xf many.tar -C copy
  cp -a copy/many again
  diff -r many again
  test "$(stat -c %h again/7.2)" = 4
  chown -R 1000:1000 again
  test -z "$(find again ! -user 1000)"
}
setid() {
  chmod 755 /root
  cp /usr/bin/id id
  chmod 4755 id
  setpriv --reuid 1000 --regid 1000 --clear-groups ./id | grep 'euid=0'
  chmod 6777 id
  setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'echo >>id'
  test "$(stat -c %a id)" = 777
  chown daemon /usr/bin/passwd
  test "$(stat -c %a /usr/bin/passwd)" = 755
}
moves() {
  rm -r /usr/share/doc
  mkdir /usr/share/doc
  test -z "$(ls -A /usr/share/doc)"
  mv /usr/share/perl /usr/share/moved
  ! perl -MFile::Find -e 1 2>error
  mv /usr/share/moved /usr/share/perl
  perl -MFile::Find -e 1
  mv /usr/lib/gcc /opt/gcc
  ln -s /opt/gcc /usr/lib/gcc
  printf 'int main() { return 0; }' >m.c
  gcc m.c
  python3 -m compileall -q -f /usr/lib/python3.11/json
  chown -R 1234:1234 /usr/share
  test -z "$(find /usr/share ! -user 1234)"
}

for step in "$@"; do
  export -f "${step?}"
  # the option -e has no effect in a function that is part of a condition
  output=$(chroot "$root" /bin/bash -exc "mkdir -p /root/$step; cd /root/$step; $step" 2>&1 </dev/null)
  status=$?
  if ((status == 0)); then echo "ok $step"; else printf 'status %d: %s\n%s\n' "$status" "$step" "${output: -2000}"; fi
done
