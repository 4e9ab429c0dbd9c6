/*
 * Prints the structures of include/cfs.h field by field, as lines "name=value".
 *   cfs-header mount|source|file|orphan|claim|changes     the structure on standard input
 *   cfs-header ask PATH...           what the mount that each path lies in answers
 *   cfs-header all-changes PATH      what a writable mount changed in its image
 *   cfs-header sizes PATH            with structures of other sizes than today's
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cfs.h"

static void hex(const char *name, const unsigned char *bytes, size_t n)
{
	size_t i;
	printf("%s=", name);
	for (i = 0; i < n; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static void handle(const char *name, const struct cfs_handle *h)
{
	char label[64];
	printf("%s.type=%d\n", name, h->type);
	snprintf(label, sizeof(label), "%s.data", name);
	hex(label, h->data, h->bytes <= CFS_HANDLE_MAX ? h->bytes : 0);
}

static void show_mount(const struct cfs_mount *m)
{
	printf("version=%u\nsources=%u\npid=%u\nreserved=%u\n", m->version, m->sources, m->pid, m->reserved);
	hex("image_id", m->image_id, sizeof(m->image_id));
	printf("options=%s\nmountpoint=%s\nrelease=%s\n", m->options, m->mountpoint, m->release);
}

static void show_source(const struct cfs_source *s)
{
	printf("version=%u\nindex=%u\ncount=%u\nkind=%u\nflags=%u\n", s->version, s->index, s->count, s->kind, s->flags);
	printf("dev=%u:%u\nreserved=%u\nino=%llu\nmnt_id=%llu\n", s->dev_major, s->dev_minor, s->reserved,
	       (unsigned long long)s->ino, (unsigned long long)s->mnt_id);
	handle("handle", &s->handle);
	handle("parent", &s->parent);
	hex("fs_uuid", s->fs_uuid, sizeof(s->fs_uuid));
	printf("fs_type=%s\nid=%s\nname=%s\npath=%s\ngiven=%s\n", s->fs_type, s->id, s->name, s->path, s->given);
}

static void show_file(const struct cfs_file *f)
{
	printf("version=%u\nflags=%u\nino=%llu\nsize=%llu\ngeneration=%u\nhash=%u\n", f->version, f->flags,
	       (unsigned long long)f->ino, (unsigned long long)f->size, f->generation, f->hash);
	hex("image_id", f->image_id, sizeof(f->image_id));
	hex("object", f->object, sizeof(f->object));
	printf("source=%u\nverified=%u\nholders=%llx\npath=%s\n", f->source, f->verified,
	       (unsigned long long)f->holders, f->path);
}

static void show_orphan(const struct cfs_orphan *o)
{
	printf("version=%u\nflags=%u\nino=%llu\ngeneration=%u\nnlink=%u\n", o->version, o->flags,
	       (unsigned long long)o->ino, o->generation, o->nlink);
	printf("claim=%llx\nparent=%llu\nname=%s\n", (unsigned long long)o->claim, (unsigned long long)o->parent, o->name);
	printf("linkable=%x\nrelink=%x\n", (unsigned)CFS_IOC_LINKABLE, (unsigned)CFS_IOC_RELINK);
}

static void show_claim(const struct cfs_claim *c)
{
	printf("version=%u\noperation=%u\nid=%llx\noffset=%llu\nlength=%u\ncomplete=%u\ntext=%.*s\n", c->version,
	       c->operation, (unsigned long long)c->id, (unsigned long long)c->offset, c->length, c->complete,
	       (int)c->length, c->text);
	printf("command=%x\n", (unsigned)CFS_IOC_CLAIM);
}

static void text(const char *name, const unsigned char *bytes, unsigned int n)
{
	printf("%s=%.*s\n", name, (int)n, (const char *)bytes);
}

static void show_changes(const struct cfs_changes *c, int all)
{
	unsigned int at;
	if (all) {
		printf("version=%u\nchanges.flags=%u\ncount=%u\nused=%u\n", c->version, c->flags, c->count, c->bytes);
		printf("since=%s\ntoken=%s\n", c->since, c->token);
		hex("cursor", c->cursor, sizeof(c->cursor));
	}
	for (at = 0; at < c->bytes;) {
		struct cfs_change one;
		const unsigned char *paths = c->data + at + sizeof(one);
		memcpy(&one, c->data + at, sizeof(one));
		printf("kind=%u\nflags=%u\nwhat=%u\n", one.kind, one.flags, one.what);
		if (all) {
			printf("bytes=%u\nino=%llu\ngeneration=%u\nmode=%o\nnlink=%u\nuid=%u\ngid=%u\nrdev=%u\n", one.bytes,
			       (unsigned long long)one.ino, one.generation, one.mode, one.nlink, one.uid, one.gid, one.rdev);
			printf("size=%llu\nmtime=%lld.%09u\nctime=%lld.%09u\nlower=%llu\nupper=%llu\n",
			       (unsigned long long)one.size, (long long)one.mtime, one.mtime_nsec, (long long)one.ctime,
			       one.ctime_nsec, (unsigned long long)one.lower, (unsigned long long)one.upper);
		}
		text("path", paths, one.path_bytes);
		text("old", paths + one.path_bytes, one.old_bytes);
		at += one.bytes;
	}
}

static int all_changes(const char *path)
{
	static struct cfs_changes changes;
	int fd = open(path, O_RDONLY);
	do {
		if (fd < 0 || ioctl(fd, CFS_IOC_CHANGES, &changes) != 0) {
			printf("%s: %s\n", path, strerror(errno));
			return 1;
		}
		show_changes(&changes, 0);
	} while (changes.flags & CFS_CHANGES_MORE);
	return 0;
}

static int from_stdin(const char *what)
{
	static unsigned char bytes[65536];
	size_t n = fread(bytes, 1, sizeof(bytes), stdin);
	if (strcmp(what, "mount") == 0 && n == sizeof(struct cfs_mount))
		show_mount((const struct cfs_mount *)bytes);
	else if (strcmp(what, "source") == 0 && n == sizeof(struct cfs_source))
		show_source((const struct cfs_source *)bytes);
	else if (strcmp(what, "file") == 0 && n == sizeof(struct cfs_file))
		show_file((const struct cfs_file *)bytes);
	else if (strcmp(what, "orphan") == 0 && n == sizeof(struct cfs_orphan))
		show_orphan((const struct cfs_orphan *)bytes);
	else if (strcmp(what, "claim") == 0 && n == sizeof(struct cfs_claim))
		show_claim((const struct cfs_claim *)bytes);
	else if (strcmp(what, "changes") == 0 && n == sizeof(struct cfs_changes))
		show_changes((const struct cfs_changes *)bytes, 1);
	else
		return 1;
	return 0;
}

static int ask(const char *path)
{
	static struct cfs_mount mount;
	static struct cfs_source source;
	static struct cfs_file file;
	unsigned int i;
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	if (fd < 0 || ioctl(fd, CFS_IOC_MOUNT, &mount) != 0) {
		printf("%s: %s\n", path, strerror(errno));
		return 1;
	}
	show_mount(&mount);
	for (i = 0; i < mount.sources; i++) {
		memset(&source, 0xee, sizeof(source));
		source.index = i;
		if (ioctl(fd, CFS_IOC_SOURCE, &source) != 0)
			return 1;
		show_source(&source);
	}
	source.index = mount.sources;
	if (ioctl(fd, CFS_IOC_SOURCE, &source) == 0 || errno != EINVAL)
		return 1;
	if (ioctl(fd, CFS_IOC_FILE, &file) != 0)
		return 1;
	show_file(&file);
	close(fd);
	return 0;
}

/* The first bytes of the answer to a structure of `size` bytes, and the bytes after the end of today's structure. */
static int sized(int fd, unsigned int nr, unsigned int size, unsigned int today)
{
	static unsigned char bytes[0x4000];
	unsigned int i, wrong = 0;
	memset(bytes, 0x55, sizeof(bytes));
	memset(bytes + 4, 0, 4); /* index */
	if (ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 0xc6, nr, size), bytes) != 0) {
		printf("nr=%u size=%u error=%s\n", nr, size, strerror(errno));
		return 0;
	}
	for (i = today; i < size; i++)
		wrong += bytes[i] != 0;
	for (i = size < 8 ? 8 : size; i < sizeof(bytes); i++)
		wrong += bytes[i] != 0x55;
	printf("nr=%u size=%u first=%u wrong=%u\n", nr, size, bytes[0], wrong);
	return 0;
}

static int sizes(const char *path)
{
	static const unsigned int today[] = { sizeof(struct cfs_mount), sizeof(struct cfs_source), sizeof(struct cfs_file) };
	unsigned int nr;
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 1;
	for (nr = 1; nr <= 3; nr++) {
		unsigned int size = today[nr - 1];
		sized(fd, nr, 4, size);
		sized(fd, nr, 8, size);
		sized(fd, nr, 100, size);
		sized(fd, nr, size - 1, size);
		sized(fd, nr, size, size);
		sized(fd, nr, size + 1, size);
		sized(fd, nr, 0x3fff, size);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int i, failed = 0;
	if (argc == 2)
		return from_stdin(argv[1]);
	if (argc == 3 && strcmp(argv[1], "sizes") == 0)
		return sizes(argv[2]);
	if (argc == 3 && strcmp(argv[1], "all-changes") == 0)
		return all_changes(argv[2]);
	for (i = 2; i < argc; i++)
		failed |= ask(argv[i]);
	return failed;
}
