/* SPDX-License-Identifier: MIT */
/*
 * Data of a mount of cfs about itself and its files, by ioctl(2) on any open file or directory of the mount.
 * docs/handles.md explains each field. Little-endian.
 *
 * The structures may grow at their end. The kernel takes their size from the number of the request, so a program
 * that was compiled with an older header gets the beginning; one with a newer header than the mount gets a smaller
 * `version`, and zeros after the fields of that version.
 *
 * Errors: ENOTTY if the file is in no mount of cfs, or in one with driver=fuse-native, and for changes in one without
 * an upper layer; EINVAL if there is no source with this index, or the cursor is none.
 */
#ifndef CFS_H
#define CFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CFS_PATH_MAX 4096
#define CFS_NAME_MAX 256
#define CFS_HANDLE_MAX 128

/* Can be given to open_by_handle_at(2) as it is: struct file_handle. */
struct cfs_handle {
	__u32 bytes;
	__s32 type;
	__u8 data[CFS_HANDLE_MAX];
};

struct cfs_mount {
	__u32 version;			/* out: 1 */
	__u32 sources;			/* how many sources */
	__u32 pid;			/* of the daemon, in its pid namespace */
	__u32 reserved;
	__u8 image_id[32];
	char options[CFS_PATH_MAX];	/* as cfs-mount takes them after -o */
	char mountpoint[CFS_PATH_MAX];	/* where it was mounted */
	char release[32];		/* version of the program that serves it */
};

#define CFS_SOURCE_IMAGE 1
#define CFS_SOURCE_REPOSITORY 2
#define CFS_SOURCE_UPPERDIR 3	/* the mount can be written */
#define CFS_SOURCE_WORKDIR 4

/* cfs_source.flags */
#define CFS_SOURCE_GONE 1	/* deleted or unmounted: path is empty */
#define CFS_SOURCE_FS_UUID 2	/* fs_uuid is valid */
#define CFS_SOURCE_HANDLE 4	/* handle is valid */
#define CFS_SOURCE_PARENT 8	/* parent and name are valid */

struct cfs_source {
	__u32 version;			/* out: 1 */
	__u32 index;			/* in: 0 is the image, then the repositories, upperdir, workdir */
	__u32 count;			/* how many sources */
	__u32 kind;			/* CFS_SOURCE_IMAGE, … */
	__u32 flags;
	__u32 dev_major;		/* st_dev */
	__u32 dev_minor;
	__u32 reserved;
	__u64 ino;
	__u64 mnt_id;			/* as in mountinfo */
	struct cfs_handle handle;
	struct cfs_handle parent;	/* of the directory that the image lies in */
	__u8 fs_uuid[16];
	char fs_type[32];
	char id[80];			/* image id, or uuid of the repository */
	char name[CFS_NAME_MAX];	/* of the image in its directory */
	char path[CFS_PATH_MAX];	/* now, as the daemon sees it */
	char given[CFS_PATH_MAX];	/* as it was given to cfs-mount */
};

/* cfs_file.flags */
#define CFS_FILE_REGULAR 1	/* source, verified and holders are valid */
#define CFS_FILE_OBJECT 2	/* its content is an object: hash and object are valid */
#define CFS_FILE_PATH 4		/* path is valid; else too long, or not for the caller */

/* cfs_file.hash */
#define CFS_HASH_BLAKE3 1
#define CFS_HASH_FSVERITY_SHA256 2

/* cfs_file.verified */
#define CFS_VERIFIED_YES 1	/* all of it, and unchanged since */
#define CFS_VERIFIED_READING 2	/* each block when it is read */
#define CFS_VERIFIED_NO 3	/* not yet: at its first open */
#define CFS_VERIFIED_OFF 4	/* never in this mount */
#define CFS_VERIFIED_FSVERITY 5	/* sealed as this object: the kernel checks each page when it reads it */

#define CFS_NO_SOURCE 0xffffffffU

struct cfs_file {
	__u32 version;			/* out: 1 */
	__u32 flags;
	__u64 ino;
	__u64 size;
	__u32 generation;
	__u32 hash;
	__u8 image_id[32];
	__u8 object[32];
	__u32 source;			/* serves it, or CFS_NO_SOURCE; upperdir's if it was written */
	__u32 verified;
	__u64 holders;			/* bit N: source N has a copy */
	char path[CFS_PATH_MAX];	/* in the image, by its first name */
};

/*
 * For checkpoints (docs/checkpoint.md), in mounts that can be written; ENOTTY in others. The caller needs
 * CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH in the user namespace of the mount, else EPERM. With ino 0 and claim 0
 * CFS_IOC_LINKABLE also serves a caller that has them in another user namespace, if the file's owner and group are
 * mapped there.
 */

/* cfs_orphan.flags */
#define CFS_ORPHAN_LINKABLE 1	/* CFS_IOC_LINKABLE: let linkat(2) name it; without: take that back */

struct cfs_orphan {
	__u32 version;			/* out: 1 */
	__u32 flags;
	__u64 ino;			/* the file, or 0: that of the descriptor; st_ino is returned */
	__u32 generation;		/* of ino, as in its handle; else ESTALE */
	__u32 nlink;			/* out: st_nlink, 1 if it is linkable */
	__u64 claim;			/* the checkpoint that has it named, or 0 */
	__u64 parent;			/* st_ino of the directory of name */
	char name[CFS_NAME_MAX];	/* CFS_IOC_RELINK: its new name; CFS_IOC_LINKABLE: the one to come, for claim */
};

/* cfs_claim.operation */
#define CFS_CLAIM_BEGIN 1	/* text describes the checkpoint, in one line */
#define CFS_CLAIM_COMPLETE 2	/* from now on its names stay; before, the next mount removes them */
#define CFS_CLAIM_END 3		/* forget it; its names are not changed */
#define CFS_CLAIM_NEXT 4	/* the first one with a higher id; ENOENT after the last */
#define CFS_CLAIM_READ 5	/* a piece of its record, from offset; empty at the end */

#define CFS_CLAIM_TEXT_MAX 4096

struct cfs_claim {
	__u32 version;			/* out: 1 */
	__u32 operation;
	__u64 id;
	__u64 offset;
	__u32 length;			/* of text */
	__u32 complete;			/* out: whether it is */
	char text[CFS_CLAIM_TEXT_MAX];	/* the record: the line of the checkpoint, then one for each name */
};

/* cfs_change.kind */
#define CFS_CHANGE_ADDED 1
#define CFS_CHANGE_REMOVED 2
#define CFS_CHANGE_CHANGED 3
#define CFS_CHANGE_RENAMED 4

/* cfs_change.what: in what it differs from its inode in the image */
#define CFS_WHAT_TYPE 1
#define CFS_WHAT_CONTENT 2	/* of a regular file: it has bytes of its own, which may be the same */
#define CFS_WHAT_MODE 4
#define CFS_WHAT_OWNER 8
#define CFS_WHAT_MTIME 16
#define CFS_WHAT_XATTRS 32
#define CFS_WHAT_LINKS 64

/* cfs_change.flags */
#define CFS_CHANGE_CHANGING 1	/* open for writing, or perhaps mapped: may change at any time */
#define CFS_CHANGE_ENTRIES 2	/* with since: names in the directory may have come and gone */
#define CFS_CHANGE_TREE 4	/* with since: the directory was moved here, with all that is below */
#define CFS_CHANGE_HAS_XATTRS 8
#define CFS_CHANGE_ELSEWHERE 16	/* removed here, and listed as renamed at its new name */

/* One name. The next one begins `bytes` after the beginning of this one. */
struct cfs_change {
	__u32 bytes;			/* a multiple of 8 */
	__u32 kind;			/* CFS_CHANGE_ADDED, … */
	__u32 flags;
	__u32 what;
	__u64 ino;
	__u32 generation;
	__u32 mode;			/* st_mode; of a removed one that in the image, and all further fields are 0 */
	__u32 nlink;
	__u32 uid;
	__u32 gid;
	__u32 rdev;
	__u64 size;
	__s64 mtime;
	__s64 ctime;
	__u32 mtime_nsec;
	__u32 ctime_nsec;
	__u64 lower;			/* inode of the image that has its content, or its other entries; 0: none */
	__u64 upper;			/* inode number in the upper layer */
	__u32 path_bytes;
	__u32 old_bytes;		/* 0 if it was added */
	/* Then the bytes of its path now, and of its path in the image; absolute, without NUL. */
};

#define CFS_TOKEN_MAX 64

/* cfs_changes.flags */
#define CFS_CHANGES_MORE 1	/* call again with this structure as it is */
#define CFS_CHANGES_EVERYTHING 2	/* all changes, and not only those since an earlier pass */
#define CFS_CHANGES_HIDDEN 4	/* some are left out: the caller may not list their directories */
#define CFS_CHANGES_INCOMPLETE 8	/* some are left out: paths are too long, or cannot be read */
#define CFS_CHANGES_REBASED 16	/* inodes of the image may have other numbers in the mount; `lower` has the image's */

/*
 * The next changes of the upper layer of a mount. Begin with zeros, and the token of an earlier pass in `since` if only
 * what changed from its beginning on is wanted. Names come in no order.
 */
struct cfs_changes {
	__u32 version;			/* out: 1 */
	__u32 flags;
	__u32 count;			/* of struct cfs_change in data */
	__u32 bytes;			/* of data that are in use */
	char since[CFS_TOKEN_MAX];	/* in */
	char token[CFS_TOKEN_MAX];	/* out: of this pass */
	__u8 cursor[320];		/* the position */
	__u8 data[15360];
};

#define CFS_IOC_MOUNT _IOWR(0xc6, 1, struct cfs_mount)
#define CFS_IOC_SOURCE _IOWR(0xc6, 2, struct cfs_source)
#define CFS_IOC_FILE _IOWR(0xc6, 3, struct cfs_file)
#define CFS_IOC_LINKABLE _IOWR(0xc6, 0x20, struct cfs_orphan)
#define CFS_IOC_RELINK _IOWR(0xc6, 0x21, struct cfs_orphan)
#define CFS_IOC_CLAIM _IOWR(0xc6, 0x22, struct cfs_claim)
#define CFS_IOC_CHANGES _IOWR(0xc6, 0x30, struct cfs_changes)

#endif
