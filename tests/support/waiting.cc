#include "support/waiting.h"

#include <algorithm>
#include <cstdlib>

namespace portolan::testing {

double test_scale() {
  if (const char* text = std::getenv("PORTOLAN_TEST_SCALE")) {
    const double scale = std::atof(text);
    if (scale > 0) return std::min(scale, 1.0);
  }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 0.1;
#else
  return 1.0;
#endif
}

int scaled(int size, int least) { return std::max(least, static_cast<int>(size * test_scale())); }

}  // namespace portolan::testing
