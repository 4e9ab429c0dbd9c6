# Mounting, holding, dumping and restoring in the virtual machine. Results are lines with tabs: "case<TAB>what<TAB>…".

M=/mnt/cfs        # where cfs is mounted
KEPT=/kept        # reports and CRIU's images; on the disk, because a mount namespace of a case has no tmpfs
TAB="$(printf '\t')"

say() {
  local line=$1
  shift
  for word in "$@"; do line="$line$TAB$word"; done
  echo "$line"
}

# What takes how long, since the kernel started.
note() { say time "$*" "$(cut -d ' ' -f 1 /proc/uptime)"; }

# mount_cfs PROJECT IMAGE: says the st_dev of the mount.
mount_cfs() {
  mkdir -p $M
  node "/payload/$1/dist/tools/cfs-mount.js" --log /tmp/cfs.log --repo /payload/store "/payload/$2" $M || exit 1
  say "mount" "$1 $2" "$(stat -c %d $M)"
  note "mounted $2 with $1"
}

# Says what of cfs is left: nothing, if all is well.
unmount_cfs() {
  umount $M || exit 1
  local tries=0
  while pidof_daemon >/dev/null && [ $((tries += 1)) -lt 50 ]; do sleep 0.1; done
  say unmount "$(pidof_daemon)" "$(grep -c fuse /proc/self/mountinfo)"
}

pidof_daemon() { ps -o pid,args | awk '$2 == "cfs-mount" { print $1 }' | grep .; }

pid_of() { cat $KEPT/"$1"/report.pid; }

# hold CASE own|root KIND PATH...: starts the holder, in a mount namespace of its own or in that of the machine.
hold() {
  local name=$1 namespace=$2
  shift 2
  mkdir -p $KEPT/"$name"
  local enter=""
  # criu takes a namespace with all its mounts: these are of no use to the case, and the tmpfs would need GNU tar
  [ "$namespace" = own ] && enter="unshare -m sh -c 'cd / && umount /payload /tmp /run /sys /dev/pts && exec \"\$@\"' sh"
  eval "$enter" $M/bin/holder $KEPT/"$name"/report '"$@"'
  local tries=0
  until [ -s $KEPT/"$name"/report.pid ] || [ $((tries += 1)) -gt 50 ]; do sleep 0.1; done
}

# report CASE WHEN: opens and closes what is watched, then says what the holder sees.
report() {
  local file=$KEPT/$1/report tries=0
  cat $M/watched/* $M/watched/*/* >/dev/null 2>&1
  : >"$file"
  kill -USR1 "$(pid_of "$1")" || return
  until grep -q ^end "$file" || [ $((tries += 1)) -gt 50 ]; do sleep 0.1; done
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
  local pid tries=0
  pid=$(pid_of "$1")
  kill -9 "$pid"
  while [ -e /proc/"$pid" ] && [ $((tries += 1)) -lt 50 ]; do sleep 0.1; done
}

# restore CASE WHEN [OPTION...]: says whether it works, what the process sees then, and ends it.
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

# restore_own CASE WHEN [OPTION...]: as restore, for a case in a mount namespace of its own. criu makes that anew below a mount of the root.
restore_own() {
  mkdir -p /newroot
  mount --bind / /newroot
  restore "$@" --root /newroot --external "mnt[cfs]:$M"
  umount /newroot
}

# The kernel forgets the names of what nobody has open. A watch keeps the inode only.
evict() { echo 2 >/proc/sys/vm/drop_caches; }

# The kernel knows the names of what is watched again: criu finds paths by them.
prepare() { stat $M/watched/* >/dev/null; }
