/* Preloaded into a server: notes, below $FSYNC_NOTES, how much of each file its last fsync has brought to disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int synced(int fd, const char *name) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  struct stat before;
  int known = fstat(fd, &before) == 0, result = real(fd);
  const char *folder = getenv("FSYNC_NOTES");
  char link[64], path[4096], note[8192];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (result || !known || !folder || length < 0) return result;
  path[length] = 0;
  char *base = strrchr(path, '/');
  snprintf(note, sizeof note, "%s/%s", folder, base ? base + 1 : path);
  int out = open(note, O_WRONLY | O_CREAT, 0600);
  if (out >= 0) {
    dprintf(out, "%020lld", (long long)before.st_size);
    close(out);
  }
  return result;
}

int fdatasync(int fd) { return synced(fd, "fdatasync"); }
int fsync(int fd) { return synced(fd, "fsync"); }
