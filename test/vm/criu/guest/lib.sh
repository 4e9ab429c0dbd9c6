# Mounting, holding, dumping and restoring in the virtual machine. Results are lines with tabs: "case<TAB>what<TAB>…".

M=/mnt/cfs        # the mount point of cfs
KEPT=/kept        # reports and CRIU's images; on the disk, because a mount namespace of a case has no tmpfs
TAB="$(printf '\t')"

say() {
  local line=$1
  shift
  for word in "$@"; do line="$line$TAB$word"; done
  echo "$line"
}

# wait_until COMMAND: repeats it until it succeeds, for at most 30 s.
wait_until() {
  local tries=0
  until eval "$1"; do
    [ $((tries += 1)) -le 300 ] || return 1
    sleep 0.1
  done
}

# note WORD...: reports the time since the start of the kernel.
note() { say time "$*" "$(cut -d ' ' -f 1 /proc/uptime)"; }

tool() {
  local name=$1
  shift
  node "/payload/cfs/dist/tools/$name.js" "$@"
}

# cfs_mount PROJECT ARGUMENT...: runs the cfs-mount of a project.
cfs_mount() {
  local project=$1
  shift
  mkdir -p $M
  node "/payload/$project/dist/tools/cfs-mount.js" --log /tmp/cfs.log "$@"
}

# mount_cfs PROJECT ARGUMENT...: mounts, and reports the device number.
mount_cfs() {
  cfs_mount "$@" || exit 1
  say mount "$(stat -c %d $M)"
  note mounted "$@"
}

# As mount_cfs, but in the foreground.
mount_cfs_in_foreground() {
  cfs_mount "$@" --foreground >&2 &
  wait_until 'grep -q "$M fuse" /proc/self/mounts' || exit 1
  say mount "$(stat -c %d $M)"
  note mounted "$@"
}

# Unmounts, and reports what is left of cfs, which should be nothing.
unmount_cfs() {
  umount $M || exit 1
  wait_until '! pidof_daemon >/dev/null'
  say unmount "$(pidof_daemon)" "$(grep -c fuse /proc/self/mountinfo)"
}

pidof_daemon() { ps -o pid,args | awk '/[c]fs-mount/ { print $1 }' | grep .; }

pid_of() { cat $KEPT/"$1"/report.pid; }

# hold CASE own|root KIND PATH...: starts the holder, in a mount namespace of its own or in that of the machine.
hold() {
  local name=$1 namespace=$2
  shift 2
  mkdir -p $KEPT/"$name"
  local enter=""
  # criu dumps a namespace with all its mounts: the case does not need these, and the tmpfs would require GNU tar
  [ "$namespace" = own ] && enter="unshare -m sh -c 'cd / && umount /payload /tmp /run /sys /dev/pts && exec \"\$@\"' sh"
  eval "$enter" $M/bin/holder $KEPT/"$name"/report '"$@"'
  wait_until '[ -s $KEPT/"$name"/report.pid ]'
}

# report CASE WHEN: opens and closes the watched files, then prints the report of the holder.
report() {
  local file=$KEPT/$1/report
  cat $M/watched/* $M/watched/*/* >/dev/null 2>&1
  : >"$file"
  kill -USR1 "$(pid_of "$1")" || return
  wait_until 'grep -q ^end "$file"'
  grep -v ^end "$file" | sed "s|^|$1$TAB$2$TAB|"
}

# errors CASE WHAT LOG
errors() { sed -n 's/^.*Error (criu[^)]*): //p' "$3" | while read -r line; do say "$1" "$2-error" "$line"; done; }

# dump CASE [OPTION...]: the process is gone afterwards.
dump() {
  local name=$1 status=0
  shift
  local images=$KEPT/$name/images
  mkdir -p "$images"
  criu dump -t "$(pid_of "$name")" -D "$images" -o dump.log -v4 "$@" || status=$?
  say "$name" dump $status
  errors "$name" dump "$images/dump.log"
  note "dumped $name"
}

# end CASE: kills the process, and waits until it holds nothing.
end() {
  local pid
  pid=$(pid_of "$1")
  kill -9 "$pid"
  wait_until '[ ! -e /proc/"$pid" ]'
}

# restore CASE WHEN [OPTION...]: reports whether it works and what the process sees then, and ends the process.
restore() {
  local name=$1 when=$2 status=0
  shift 2
  local images=$KEPT/$name/images
  criu restore -d -D "$images" -o "restore-$when.log" -v4 "$@" || status=$?
  say "$name" "restore-$when" $status
  errors "$name" "restore-$when" "$images/restore-$when.log"
  if [ $status = 0 ]; then
    report "$name" "after-$when"
    end "$name"
  fi
  note "restored $name"
}

# restore_own CASE WHEN [OPTION...]: as restore, for a case in a mount namespace of its own. criu creates the namespace
# again below a mount of the root.
restore_own() {
  mkdir -p /newroot
  mount --bind / /newroot
  restore "$@" --root /newroot --external "mnt[cfs]:$M"
  umount /newroot
}

# The kernel forgets the names of files that are not open. A watch keeps only the inode.
evict() { echo 2 >/proc/sys/vm/drop_caches; }

# prepare CASE: runs cfs-checkpoint prepare, as users should before a dump. The kernel then knows the names of watched
# files again, and criu finds their paths.
prepare() {
  mkdir -p $KEPT/"$1"/images
  tool cfs-checkpoint prepare -D $KEPT/"$1"/images $M "$(pid_of "$1")" >&2 || say "$1" prepare $?
}
