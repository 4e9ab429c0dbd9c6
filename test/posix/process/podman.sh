# DIRECTORY LINES: runs lines of bash in which `pod` is podman with all its files in DIRECTORY, without network
shift
directory=$1
cat >"$directory/containers.conf" <<'END'
[engine]
lock_type = "file"
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
[containers]
cgroups = "disabled"
netns = "none"
log_driver = "none"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
END
export CONTAINERS_CONF=$directory/containers.conf
pod() {
  podman --root "$directory/root" --runroot "$directory/run" --tmpdir "$directory/tmp" --storage-driver overlay "$@"
}
eval "$2"
