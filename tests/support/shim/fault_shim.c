/*
 * Preloaded into a process under test: counts every call that changes files below a folder, writes a trace of them, and
 * kills the process (SIGKILL) right before the n-th, or in the middle of it when that is a write.
 *
 * SHIM_ROOT    folder whose changes count; without it nothing is done
 * SHIM_COUNT   file of 8 bytes, shared by all processes of the run: number of changes so far (host order)
 * SHIM_KILL    number of the change to die at, from 1; 0: none
 * SHIM_TORN    "1": when that change is a write of two bytes or more, its first half is done before
 * SHIM_BOOT    file that is read in place of the kernel's boot_id: a power cut ends in another boot
 * SHIM_TRACE   file to which each change is appended as it is done, see support/power_cut.py
 *
 * shim_arm() sets the same from inside, for a process that was forked from one that had no root.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH_SIZE (PATH_MAX + 32)
#define REAL(name) ((__typeof__(&name))real_##name())
#define RESOLVE(name)                                                                                                  \
    static void *real_##name(void) {                                                                                   \
        static void *found;                                                                                            \
        if (!found)                                                                                                    \
            found = dlsym(RTLD_NEXT, #name);                                                                           \
        return found;                                                                                                  \
    }

static char root[PATH_MAX];
static size_t root_size;
static volatile int64_t *count;
static int64_t kill_at;
static int torn;
static int trace = -1;
static const char *boot;
static pthread_mutex_t tracing = PTHREAD_MUTEX_INITIALIZER;

RESOLVE(write)
RESOLVE(pwrite)
RESOLVE(pwrite64)
RESOLVE(writev)
RESOLVE(open)
RESOLVE(open64)
RESOLVE(openat)
RESOLVE(openat64)
RESOLVE(rename)
RESOLVE(renameat)
RESOLVE(renameat2)
RESOLVE(link)
RESOLVE(linkat)
RESOLVE(symlink)
RESOLVE(symlinkat)
RESOLVE(unlink)
RESOLVE(unlinkat)
RESOLVE(rmdir)
RESOLVE(mkdir)
RESOLVE(mkdirat)
RESOLVE(fsync)
RESOLVE(fdatasync)
RESOLVE(syncfs)
RESOLVE(ftruncate)
RESOLVE(ftruncate64)
RESOLVE(fchmod)
RESOLVE(chmod)
RESOLVE(fchmodat)
RESOLVE(fsetxattr)
RESOLVE(setxattr)
RESOLVE(lsetxattr)
RESOLVE(copy_file_range)
RESOLVE(sendfile)
RESOLVE(sendfile64)

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags);
int setxattr(const char *path, const char *name, const void *value, size_t size, int flags);
int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags);

void shim_arm(const char *folder, const char *counter, long long at, int half, const char *trace_file,
              const char *boot_file) {
    int fd = open(counter, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || REAL(ftruncate)(fd, 8))
        abort();
    count = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (count == MAP_FAILED)
        abort();
    kill_at = at;
    boot = boot_file;
    torn = half;
    if (trace_file && *trace_file)
        trace = REAL(open)(trace_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    snprintf(root, sizeof root, "%s", folder);
    root_size = strlen(root);
}

__attribute__((constructor)) static void from_environment(void) {
    const char *folder = getenv("SHIM_ROOT"), *counter = getenv("SHIM_COUNT");
    const char *at = getenv("SHIM_KILL"), *half = getenv("SHIM_TORN");
    if (folder && *folder && counter)
        shim_arm(folder, counter, at ? atoll(at) : 0, half && *half == '1', getenv("SHIM_TRACE"),
                 getenv("SHIM_BOOT"));
}

/* SQLite's shared index of its log is made anew after a crash: it is memory that happens to be in a file. */
static int scratch(const char *path) {
    size_t size = strlen(path);
    return size > 4 && !strcmp(path + size - 4, "-shm");
}

static int inside(const char *path) {
    return root_size && !scratch(path) && !strncmp(path, root, root_size) && (path[root_size] == '/' || !path[root_size]);
}

/* The absolute path of an open file; of one without a name what the kernel calls it. */
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX);
    if (size < 0)
        return 0;
    path[size] = 0;
    return 1;
}

/* The absolute path of a name below an open folder; 0 when it is not below the root. */
static int locate(int folder, const char *name, char *path) {
    char base[PATH_SIZE];
    if (!root_size)
        return 0;
    if (*name == '/')
        snprintf(path, PATH_SIZE, "%s", name);
    else if (folder == AT_FDCWD) {
        if (!getcwd(base, PATH_MAX))
            return 0;
        snprintf(path, PATH_SIZE, "%.*s/%s", PATH_MAX / 2, base, name);
    } else {
        if (!path_of(folder, base))
            return 0;
        snprintf(path, PATH_SIZE, "%.*s/%s", PATH_MAX / 2, base, name);
    }
    return inside(path);
}

static int regular(int fd, char *path, uint64_t *inode) {
    struct stat status;
    if (!root_size || !path_of(fd, path) || !inside(path) || fstat(fd, &status) || !S_ISREG(status.st_mode))
        return 0;
    *inode = status.st_ino;
    return 1;
}

/* Count a change; die when it is the one. Whether half of a write has to be done first is told by the result. */
static int boundary(size_t size) {
    int64_t mine = __sync_add_and_fetch(count, 1);
    if (kill_at && mine == kill_at) {
        if (torn && size > 1)
            return 1;
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    return 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* A record: kind, three numbers, three strings with lengths; host order. */
static void record(char kind, uint64_t inode, uint64_t at, uint64_t mode, const char *path, const char *other,
                   const void *data, size_t size) {
    if (trace < 0)
        return;
    uint32_t first = path ? strlen(path) : 0, second = other ? strlen(other) : 0, third = size;
    struct iovec parts[] = {
        {&kind, 1},   {&inode, 8},          {&at, 8},               {&mode, 8}, {&first, 4}, {&second, 4},
        {&third, 4}, {(void *)path, first}, {(void *)other, second}, {(void *)data, size},
    };
    pthread_mutex_lock(&tracing);
    if (REAL(writev)(trace, parts, 10) < 0)
        abort();
    pthread_mutex_unlock(&tracing);
}

/* What was just written at `at`, read back, for calls that do not show it. */
static void record_copied(int fd, uint64_t inode, off_t at, ssize_t size, const char *path) {
    char *data = size > 0 ? malloc(size) : NULL;
    if (data && pread(fd, data, size, at) == size)
        record('W', inode, at, 0, path, NULL, data, size);
    free(data);
}

#define WRITE(call, offset, length, data)                                                                              \
    char path[PATH_SIZE];                                                                                              \
    uint64_t inode = 0;                                                                                                \
    int ours = regular(fd, path, &inode), saved;                                                                       \
    ssize_t done;                                                                                                      \
    if (ours && boundary(length)) {                                                                                    \
        size_t half = (length) / 2;                                                                                    \
        done = (offset) < 0 ? REAL(write)(fd, data, half) : REAL(pwrite)(fd, data, half, offset);                      \
        die();                                                                                                         \
    }                                                                                                                  \
    off_t at = ours ? ((offset) < 0 ? lseek(fd, 0, SEEK_CUR) : (offset)) : 0;                                          \
    if (ours && (offset) < 0 && fcntl(fd, F_GETFL) & O_APPEND)                                                         \
        at = lseek(fd, 0, SEEK_END);                                                                                   \
    done = call;                                                                                                       \
    saved = errno;                                                                                                     \
    if (ours && done > 0)                                                                                              \
        record('W', inode, at, 0, path, NULL, data, done);                                                             \
    errno = saved;                                                                                                     \
    return done;

ssize_t write(int fd, const void *data, size_t size) { WRITE(REAL(write)(fd, data, size), (off_t)-1, size, data) }

ssize_t pwrite(int fd, const void *data, size_t size, off_t where) {
    WRITE(REAL(pwrite)(fd, data, size, where), where, size, data)
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
    WRITE(REAL(pwrite64)(fd, data, size, where), where, size, data)
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    char path[PATH_SIZE];
    uint64_t inode = 0;
    int ours = regular(fd, path, &inode);
    if (ours && boundary(number ? parts[0].iov_len : 0)) {
        if (REAL(write)(fd, parts[0].iov_base, parts[0].iov_len / 2) < 0)
            abort();
        die();
    }
    off_t at = ours ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = REAL(writev)(fd, parts, number);
    int saved = errno;
    if (ours)
        record_copied(fd, inode, at, done, path);
    errno = saved;
    return done;
}

ssize_t copy_file_range(int source, off64_t *from, int fd, off64_t *to, size_t size, unsigned flags) {
    char path[PATH_SIZE];
    uint64_t inode = 0;
    int ours = regular(fd, path, &inode);
    if (ours && boundary(0))
        die();
    off_t at = ours ? (to ? *to : lseek(fd, 0, SEEK_CUR)) : 0;
    ssize_t done = REAL(copy_file_range)(source, from, fd, to, size, flags);
    int saved = errno;
    if (ours)
        record_copied(fd, inode, at, done, path);
    errno = saved;
    return done;
}

#define SENDFILE(name, type)                                                                                           \
    ssize_t name(int fd, int source, type *from, size_t size) {                                                        \
        char path[PATH_SIZE];                                                                                          \
        uint64_t inode = 0;                                                                                            \
        int ours = regular(fd, path, &inode);                                                                          \
        if (ours && boundary(0))                                                                                       \
            die();                                                                                                     \
        off_t at = ours ? lseek(fd, 0, SEEK_CUR) : 0;                                                                  \
        ssize_t done = REAL(name)(fd, source, from, size);                                                             \
        int saved = errno;                                                                                             \
        if (ours)                                                                                                      \
            record_copied(fd, inode, at, done, path);                                                                  \
        errno = saved;                                                                                                 \
        return done;                                                                                                   \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define OPEN(call, folder)                                                                                             \
    if (boot && *boot && !strcmp(name, "/proc/sys/kernel/random/boot_id"))                                             \
        name = boot;                                                                                                   \
    char path[PATH_SIZE];                                                                                              \
    struct stat status;                                                                                                \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }                                                                                                                  \
    int hidden = (flags & O_TMPFILE) == O_TMPFILE;                                                                     \
    int ours = (flags & (O_CREAT | O_TRUNC) || hidden) && locate(folder, name, path);                                  \
    int fresh = ours && (hidden || fstatat(AT_FDCWD, path, &status, 0));                                               \
    int cut = ours && !fresh && flags & O_TRUNC;                                                                       \
    if (fresh || cut)                                                                                                  \
        boundary(0);                                                                                                   \
    int fd = call, saved = errno;                                                                                      \
    if (fd >= 0 && (fresh || cut) && !fstat(fd, &status))                                                              \
        record(fresh ? 'O' : 'T', status.st_ino, 0, status.st_mode, hidden ? NULL : path, NULL, NULL, 0);              \
    errno = saved;                                                                                                     \
    return fd;

int open(const char *name, int flags, ...) { OPEN(REAL(open)(name, flags, mode), AT_FDCWD) }
int open64(const char *name, int flags, ...) { OPEN(REAL(open64)(name, flags, mode), AT_FDCWD) }
int openat(int folder, const char *name, int flags, ...) { OPEN(REAL(openat)(folder, name, flags, mode), folder) }
int openat64(int folder, const char *name, int flags, ...) { OPEN(REAL(openat64)(folder, name, flags, mode), folder) }

#define RENAME(call, from, to)                                                                                         \
    char source[PATH_SIZE], target[PATH_SIZE];                                                                         \
    int ours = locate(from, old, source) | locate(to, new, target);                                                    \
    if (ours)                                                                                                          \
        boundary(0);                                                                                                   \
    int done = call, saved = errno;                                                                                    \
    if (ours && !done)                                                                                                 \
        record('R', 0, 0, 0, source, target, NULL, 0);                                                                 \
    errno = saved;                                                                                                     \
    return done;

int rename(const char *old, const char *new) { RENAME(REAL(rename)(old, new), AT_FDCWD, AT_FDCWD) }
int renameat(int from, const char *old, int to, const char *new) {
    RENAME(REAL(renameat)(from, old, to, new), from, to)
}
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    RENAME(REAL(renameat2)(from, old, to, new, flags), from, to)
}

#define LINK(call, folder)                                                                                             \
    char target[PATH_SIZE];                                                                                            \
    struct stat status;                                                                                                \
    int ours = locate(folder, new, target);                                                                            \
    if (ours)                                                                                                          \
        boundary(0);                                                                                                   \
    int done = call, saved = errno;                                                                                    \
    if (ours && !done && !lstat(target, &status))                                                                      \
        record('L', status.st_ino, 0, status.st_mode, target, NULL, NULL, 0);                                          \
    errno = saved;                                                                                                     \
    return done;

int link(const char *old, const char *new) { LINK(REAL(link)(old, new), AT_FDCWD) }
int linkat(int from, const char *old, int to, const char *new, int flags) {
    LINK(REAL(linkat)(from, old, to, new, flags), to)
}

#define SYMLINK(call, folder)                                                                                          \
    char path[PATH_SIZE];                                                                                              \
    int ours = locate(folder, new, path);                                                                              \
    if (ours)                                                                                                          \
        boundary(0);                                                                                                   \
    int done = call, saved = errno;                                                                                    \
    if (ours && !done)                                                                                                 \
        record('Y', 0, 0, 0, path, old, NULL, 0);                                                                      \
    errno = saved;                                                                                                     \
    return done;

int symlink(const char *old, const char *new) { SYMLINK(REAL(symlink)(old, new), AT_FDCWD) }
int symlinkat(const char *old, int folder, const char *new) { SYMLINK(REAL(symlinkat)(old, folder, new), folder) }

#define NAMED(kind, call, folder, bits)                                                                                \
    char path[PATH_SIZE];                                                                                              \
    int ours = locate(folder, name, path);                                                                             \
    if (ours)                                                                                                          \
        boundary(0);                                                                                                   \
    int done = call, saved = errno;                                                                                    \
    if (ours && !done)                                                                                                 \
        record(kind, 0, 0, bits, path, NULL, NULL, 0);                                                                 \
    errno = saved;                                                                                                     \
    return done;

int unlink(const char *name) { NAMED('U', REAL(unlink)(name), AT_FDCWD, 0) }
int unlinkat(int folder, const char *name, int flags) { NAMED('U', REAL(unlinkat)(folder, name, flags), folder, 0) }
int rmdir(const char *name) { NAMED('U', REAL(rmdir)(name), AT_FDCWD, 0) }
int mkdir(const char *name, mode_t mode) { NAMED('D', REAL(mkdir)(name, mode), AT_FDCWD, mode) }
int mkdirat(int folder, const char *name, mode_t mode) { NAMED('D', REAL(mkdirat)(folder, name, mode), folder, mode) }
int chmod(const char *name, mode_t mode) { NAMED('M', REAL(chmod)(name, mode), AT_FDCWD, mode) }
int fchmodat(int folder, const char *name, mode_t mode, int flags) {
    NAMED('M', REAL(fchmodat)(folder, name, mode, flags), folder, mode)
}

#define OPENED(kind, call, number, bits)                                                                               \
    char path[PATH_SIZE];                                                                                              \
    struct stat status;                                                                                                \
    int ours = root_size && path_of(fd, path) && inside(path) && !fstat(fd, &status);                                  \
    if (ours)                                                                                                          \
        boundary(0);                                                                                                   \
    int done = call, saved = errno;                                                                                    \
    if (ours && !done)                                                                                                 \
        record(kind, S_ISDIR(status.st_mode) ? 0 : status.st_ino, number, bits, path, NULL, NULL, 0);                                                \
    errno = saved;                                                                                                     \
    return done;

int fsync(int fd) { OPENED('F', REAL(fsync)(fd), 0, 0) }
int fdatasync(int fd) { OPENED('F', REAL(fdatasync)(fd), 0, 0) }
int syncfs(int fd) { OPENED('S', REAL(syncfs)(fd), 0, 0) }
int ftruncate(int fd, off_t size) { OPENED('T', REAL(ftruncate)(fd, size), size, 0) }
int ftruncate64(int fd, off64_t size) { OPENED('T', REAL(ftruncate64)(fd, size), size, 0) }
int fchmod(int fd, mode_t mode) { OPENED('M', REAL(fchmod)(fd, mode), 0, mode) }

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
    char path[PATH_SIZE];
    struct stat status;
    int ours = root_size && path_of(fd, path) && inside(path) && !fstat(fd, &status);
    if (ours)
        boundary(0);
    int done = REAL(fsetxattr)(fd, name, value, size, flags), saved = errno;
    if (ours && !done)
        record('X', status.st_ino, 0, 0, path, name, value, size);
    errno = saved;
    return done;
}

#define SETXATTR(call)                                                                                                 \
    char path[PATH_SIZE];                                                                                              \
    struct stat status;                                                                                                \
    int ours = locate(AT_FDCWD, file, path) && !lstat(path, &status);                                                  \
    if (ours)                                                                                                          \
        boundary(0);                                                                                                   \
    int done = call, saved = errno;                                                                                    \
    if (ours && !done)                                                                                                 \
        record('X', status.st_ino, 0, 0, path, name, value, size);                                                     \
    errno = saved;                                                                                                     \
    return done;

int setxattr(const char *file, const char *name, const void *value, size_t size, int flags) {
    SETXATTR(REAL(setxattr)(file, name, value, size, flags))
}
int lsetxattr(const char *file, const char *name, const void *value, size_t size, int flags) {
    SETXATTR(REAL(lsetxattr)(file, name, value, size, flags))
}
