# ROOT BUNDLE SCRIPT: runs a shell script in a container of crun with this root directory
shift
root=$1 bundle=$2 script=$3
cd "$bundle"
rm -f config.json
crun spec
python3 - "$root" "$script" <<'END'
import json, sys
with open('config.json') as file:
    config = json.load(file)
config['root'] = {'path': sys.argv[1], 'readonly': False}
process = config['process']
process.pop('rlimits', None)
process.update(terminal=False, args=['/bin/sh', '-ec', sys.argv[2]])
process['env'] = ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'LC_ALL=C']
# those that containers of docker have
for kind in 'bounding', 'effective', 'permitted':
    process['capabilities'][kind] = [f'CAP_{name}' for name in (
        'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD SETGID SETUID SETFCAP SETPCAP SYS_CHROOT KILL AUDIT_WRITE').split()]
with open('config.json', 'w') as file:
    json.dump(config, file)
END
crun --root "$bundle/state" --cgroup-manager=disabled run cfs-test-$$
