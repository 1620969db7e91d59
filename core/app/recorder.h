// Between the workers and the store: what of the sessions and refusals is worth a row.
//
// Called on worker threads, so it is cheap when it is not wanted: sessions stop at the store's bound for the
// interval, refusals at kRefusalsPerSecond for each worker (the counters have them all the same).
#pragma once

#include "plugin/instance.h"
#include "store/store.h"

#include <memory>
#include <vector>

namespace portolan {

class StoreRecorder final : public Recorder {
 public:
  // `store` may be null: nothing is recorded.
  StoreRecorder(Store* store, unsigned workers) : store_(store), windows_(workers) {}

  bool wants_session() noexcept override { return store_ && store_->takes_sessions(); }
  void session(SessionRecord record) noexcept override { store_->add(std::move(record)); }
  void refusal(unsigned worker, const std::string& service, const Address& client, Refusal reason) noexcept override;
  void event(std::string kind, std::string service, std::string detail) noexcept override;
  void ban(const Ban& ban, bool lifted) noexcept;

 private:
  static constexpr std::uint32_t kRefusalsPerSecond = 1000;
  struct alignas(64) Window {
    std::int64_t second = 0;
    std::uint32_t count = 0;
  };
  Store* store_;
  std::vector<Window> windows_;  // each worker writes its own
};

}  // namespace portolan
