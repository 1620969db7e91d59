// A receiver against a sender that says anything: it writes nothing outside of its folder, holds no more than it may, and
// ends or waits, whatever comes. Input: a seed for the cuts, then the bytes of the peer.
#include "fuzz_target.h"
#include "transfer/receiver.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

using namespace portolan;
using namespace portolan::transfer;
using portolan::fuzz::check;

namespace {

constexpr std::uint64_t kQuota = 1 << 20;

// A folder in a folder: what climbs out is found in the outer one.
struct Place {
  Place() {
    std::string pattern = (std::filesystem::temp_directory_path() / "transfer_fuzz_XXXXXX").string();
    check(::mkdtemp(pattern.data()) != nullptr, "a temporary folder can be made");
    outer = pattern;
    std::filesystem::create_directory(outer + "/in");
  }
  ~Place() {
    std::error_code ignored;
    std::filesystem::remove_all(outer, ignored);
  }
  void empty() const {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(outer + "/in", ignored)) {
      std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_all, ignored);
      std::filesystem::remove_all(entry.path(), ignored);
    }
  }
  std::string outer;
};

std::size_t entries(const std::string& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

struct Host final : ReceiverHost {
  void on_result(const FileReport& file) noexcept override {
    if (file.outcome == Outcome::received) check(file.sha256.size() == 64, "a file that was received has its hash");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Place place;
  fuzz::Input input(data, size);
  fuzz::Cuts cuts(input.byte());
  const std::string_view text = input.rest();
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  {
    auto folder = ReceiveFolder::open(place.outer + "/in",
                                      {.existing = Existing::rename,
                                       .limits = {.max_file = kQuota, .max_files = 100, .quota = kQuota}},
                                      false);
    check(folder.has_value(), "the folder can be opened");
    Finisher finisher([] {});
    Host host;
    Duration now{};
    Receiver receiver(**folder, finisher, host, now);
    std::vector<std::byte> out;
    std::size_t from = 0;
    std::size_t to = 0;
    for (int idle = 0; idle < 3; ++idle) {
      to = std::min(bytes.size(), to + cuts.next(2000));
      const std::size_t used = receiver.receive(bytes.subspan(from, to - from), now);
      check(used <= to - from, "no more is taken than there is");
      from += used;
      for (int steps = 0; receiver.busy() && steps < 10; ++steps) receiver.step(now);
      receiver.collect(now);
      receiver.produce(out, now);
      now += std::chrono::milliseconds(50);
      if (to < bytes.size() || used > 0) idle = 0;
      if (receiver.finished() || !receiver.failure().empty()) break;
    }
    check(receiver.new_bytes() <= bytes.size(), "no more is written than came");
  }
  check(entries(place.outer) == 1, "nothing lies outside of the folder");
  place.empty();
  return 0;
}
