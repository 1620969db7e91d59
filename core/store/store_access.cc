#include "store_access.h"

namespace portolan {
namespace {

class NoStore final : public StoreAccess {
 public:
  std::expected<QuestionId, std::string> ask(StoreQuestion, Answered) noexcept override { return refused(); }
  void cancel(QuestionId) noexcept override {}
  std::expected<void, std::string> put(std::string_view, std::string_view, StoreValue, std::int64_t) noexcept override {
    return refused();
  }
  std::expected<StoreValue, std::string> get(std::string_view, std::string_view) noexcept override { return refused(); }
  std::expected<std::int64_t, std::string> increment(std::string_view, std::string_view, std::int64_t,
                                                     std::int64_t) noexcept override {
    return refused();
  }
  void keep_message(std::string_view, const KeptMessage&) noexcept override {}
  void keep_transfer(std::string_view, const KeptTransfer&) noexcept override {}
  std::expected<QuestionId, std::string> recent_messages(std::string, std::string, std::uint32_t,
                                                         Recalled) noexcept override {
    return refused();
  }

 private:
  static std::unexpected<std::string> refused() {
    return std::unexpected<std::string>("there is no store: the configuration has store = false");
  }
};

}  // namespace

StoreAccess& no_store() noexcept {
  static NoStore none;
  return none;
}

}  // namespace portolan
