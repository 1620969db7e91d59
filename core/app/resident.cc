#include "resident.h"

#include <malloc.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace portolan {

namespace {

// A debugger's breakpoints are changed code pages: dropping those would lose them.
bool traced() noexcept {
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (!status) return false;
  char line[256];
  int tracer = 0;
  while (std::fgets(line, sizeof line, status))
    if (std::sscanf(line, "TracerPid: %d", &tracer) == 1) break;
  std::fclose(status);
  return tracer != 0;
}

}  // namespace

void release_startup_memory() noexcept {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  if (traced()) return;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (!maps) return;
  char line[512];
  while (std::fgets(line, sizeof line, maps)) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char access[5] = {};
    char path[8] = {};
    // Code only (r-xp of a file): clean pages that nobody writes, so dropping them loses nothing.
    // Read-only data is left alone: relocated pages look the same and would be lost.
    const int fields =
        std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*x:%*x %*u %7s", &begin, &end, access, path);
    if (fields == 4 && std::strcmp(access, "r-xp") == 0 && path[0] == '/')
      madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  std::fclose(maps);
}

}  // namespace portolan
