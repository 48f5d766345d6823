/* Between a program and the C library: reads and writes that fall short, are interrupted or fail, and no hard links.
 *
 * FAULT_UNDER  folders, with colons between; other files are left alone
 * FAULT_KIND   short: at most half of what was asked for; interrupted: every second call ends with EINTR;
 *              read_error, write_error: read or write number FAULT_AT of this process ends with EIO; no_link: EPERM
 * FAULT_LOG    gets a byte for every EIO and EPERM
 *
 * What goes past read and write is not seen: mapped memory, and the C library's own fread and fwrite.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int is(const char *kind) {
    const char *chosen = getenv("FAULT_KIND");
    return chosen && strcmp(chosen, kind) == 0;
}

static int concerned(int file) {
    char link[64], path[PATH_MAX];
    const char *folders = getenv("FAULT_UNDER");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!folders || length < 0)
        return 0;
    path[length] = 0;
    while (*folders) {
        size_t size = strcspn(folders, ":");
        if (size && strncmp(path, folders, size) == 0 && (path[size] == '/' || path[size] == 0))
            return 1;
        folders += size + (folders[size] == ':');
    }
    return 0;
}

static void tell(void) {
    const char *name = getenv("FAULT_LOG");
    int log = name ? open(name, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    ssize_t (*out)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (log >= 0) {
        out(log, "!", 1);
        close(log);
    }
}

/* Returns how much of `size` to do, or -1 with errno set. */
static ssize_t fault(int file, size_t size, const char *error) {
    int before = errno;
    if (!concerned(file)) {
        errno = before;
        return size;
    }
    errno = before;
    if (is("interrupted") && ++calls % 2) {
        errno = EINTR;
        return -1;
    }
    if (is(error) && ++calls == atol(getenv("FAULT_AT"))) {
        tell();
        errno = EIO;
        return -1;
    }
    return is("short") && size > 1 ? size / 2 : size;
}

#define PASS(name, result, error, file, size, types, ...)                                                             \
    result name types {                                                                                                \
        static result(*next) types;                                                                                    \
        if (!next)                                                                                                     \
            next = dlsym(RTLD_NEXT, #name);                                                                            \
        ssize_t part = fault(file, size, error);                                                                       \
        if (part < 0)                                                                                                  \
            return -1;                                                                                                 \
        size = part;                                                                                                   \
        return next(__VA_ARGS__);                                                                                      \
    }

PASS(read, ssize_t, "read_error", file, size, (int file, void *to, size_t size), file, to, size)
PASS(pread, ssize_t, "read_error", file, size, (int file, void *to, size_t size, off_t at), file, to, size, at)
PASS(pread64, ssize_t, "read_error", file, size, (int file, void *to, size_t size, off64_t at), file, to, size, at)
PASS(write, ssize_t, "write_error", file, size, (int file, const void *from, size_t size), file, from, size)
PASS(pwrite, ssize_t, "write_error", file, size, (int file, const void *from, size_t size, off_t at), file, from, size, at)
PASS(pwrite64, ssize_t, "write_error", file, size, (int file, const void *from, size_t size, off64_t at), file, from, size, at)
PASS(sendfile, ssize_t, "write_error", file, size, (int file, int from, off_t *at, size_t size), file, from, at, size)
PASS(sendfile64, ssize_t, "write_error", file, size, (int file, int from, off64_t *at, size_t size), file, from, at, size)

int link(const char *from, const char *to) {
    static int (*next)(const char *, const char *);
    if (!next)
        next = dlsym(RTLD_NEXT, "link");
    if (is("no_link")) {
        tell();
        errno = EPERM;
        return -1;
    }
    return next(from, to);
}

int linkat(int folder, const char *from, int other, const char *to, int flags) {
    static int (*next)(int, const char *, int, const char *, int);
    if (!next)
        next = dlsym(RTLD_NEXT, "linkat");
    if (is("no_link")) {
        tell();
        errno = EPERM;
        return -1;
    }
    return next(folder, from, other, to, flags);
}
