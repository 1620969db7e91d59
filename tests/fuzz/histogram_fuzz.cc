// Histograms from the store, which a broken disk or another program may have written. Input: the bytes.
#include "fuzz_target.h"
#include "stats/histogram.h"

using namespace portolan;
using fuzz::check;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const HistogramSnapshot snapshot = HistogramSnapshot::parse({reinterpret_cast<const char*>(data), size});
  const std::string bytes = snapshot.serialize();
  const HistogramSnapshot again = HistogramSnapshot::parse(bytes);
  check(again.serialize() == bytes, "a histogram is read as it was written");
  check(again.count() == snapshot.count(), "nothing is lost on the way");
  std::uint64_t last = 0;
  for (const double share : {0.0, 0.5, 0.9, 0.99, 1.0}) {
    const std::uint64_t value = snapshot.quantile(share);
    check(value == again.quantile(share), "quantiles are kept");
    check(value >= last, "quantiles rise");
    last = value;
  }
  check(snapshot.count_up_to(~std::uint64_t{0}) == snapshot.count(), "all values are up to the greatest");
  return 0;
}
