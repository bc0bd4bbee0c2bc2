/* A disk that fails on command: to be preloaded into a node.
 *
 * While the file that $MESH_FAILING_DISK names exists, operations on the files of the node's log
 * fail with EIO: writes when the file says "write", syncs when it says "sync". The node does not
 * know of it; SQLite calls the C library, and these functions stand before it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_log(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, "log.sqlite") != NULL;
}

static int fails(int fd, char what) {
    char said = 0;
    const char *command = getenv("MESH_FAILING_DISK");
    if (!command) return 0;
    int file = open(command, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t count = syscall(SYS_read, file, &said, 1);
    close(file);
    if (count != 1 || said != what || !is_log(fd)) return 0;
    errno = EIO;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    return fails(fd, 'w') ? -1 : REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails(fd, 'w') ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails(fd, 'w') ? -1 : REAL(pwrite64)(fd, data, size, at);
}
int fsync(int fd) {
    return fails(fd, 's') ? -1 : REAL(fsync)(fd);
}
int fdatasync(int fd) {
    return fails(fd, 's') ? -1 : REAL(fdatasync)(fd);
}
