#include "random.h"

#include "base/log.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace portolan {

void random_bytes(std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got > 0) {
      out = out.subspan(static_cast<std::size_t>(got));
    } else if (errno != EINTR) {
      log::error("the kernel gives no randomness ({}): no key can be made", std::strerror(errno));
      std::abort();
    }
  }
}

}  // namespace portolan
