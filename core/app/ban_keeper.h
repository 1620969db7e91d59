// The list of bans with what belongs around it: the store that keeps it over a restart, the log, and the workers, which
// end the sessions of who is banned.
//
// Owned by the daemon, on the main thread; list() is used by the workers, which it outlives.
#pragma once

#include "app/recorder.h"
#include "limits/ban_list.h"

#include <expected>
#include <functional>
#include <string>

namespace portolan {

class BanKeeper {
 public:
  // `end_sessions` is called on any thread.
  explicit BanKeeper(std::function<void(const Address& client)> end_sessions)
      : end_sessions_(std::move(end_sessions)) {}

  // Before the workers begin. `store` may be null. The error is a sentence.
  std::expected<void, std::string> begin(const BanOptions& options, Store* store, StoreRecorder* recorder);
  void configure(const BanOptions& options);
  BanList& list() noexcept { return list_; }

  // By hand; a time of zero is the configuration's. The error is a sentence.
  std::expected<void, std::string> ban(const Address& client, Duration time, std::string reason);

 private:
  void changed(const Ban& ban, BanList::Change change) noexcept;

  const std::function<void(const Address&)> end_sessions_;
  StoreRecorder* recorder_ = nullptr;
  Duration usual_time_{};
  BanList list_{[this](const Ban& ban, BanList::Change change) { changed(ban, change); }};
};

}  // namespace portolan
