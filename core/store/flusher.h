// The work of the store's thread without the thread: take what was counted, write it, recover from a broken disk.
//
// Owned by Store; used by one thread at a time. Time comes in with each call, so that tests can move it. Never throws
// but std::bad_alloc.
#pragma once

#include "database.h"
#include "figures.h"
#include "record_queue.h"
#include "writer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace portolan {

// What others hand in, from any thread.
struct Inbox {
  RecordQueue records;
  ScriptValues values;
  MessageQueue messages;
};

class Flusher {
 public:
  // `lock` is that of the path, held as long as this lives.
  static std::expected<Flusher, std::string> open(const std::string& path);

  // Takes what was counted since the last call, for the minute in which that call was made (the interval lies between
  // the two: the caller looks at every turn of a minute).
  void take(const StatsRegistry& registry, std::int64_t now_ms);

  // The error is a sentence; what could not be written is kept for the next call. The value says whether anything was
  // written. `last`: the daemon ends, so that the running minute goes into its hour now.
  std::expected<bool, std::string> write(Inbox& inbox, const Retention& retention, std::int64_t now_ms,
                                         bool last = false);
  // A group of messages without the rest. False: none waits.
  std::expected<bool, std::string> write_messages(MessageQueue& messages, const Retention& retention);
  // What the file holds, what is over as well.
  std::expected<std::vector<Ban>, std::string> bans();
  std::expected<std::vector<ValueChange>, std::string> values();
  std::expected<std::int64_t, std::string> last_message_id();
  void close() noexcept;

 private:
  Flusher() = default;
  std::expected<bool, std::string> write_once(const PendingRecords& records, const Retention& retention,
                                              std::int64_t now_ms, bool last);
  std::expected<void, std::string> connect(Creation creation);
  std::expected<void, std::string> check_file(bool looks);
  std::unexpected<std::string> failed(const SqlError& error);
  void give_back_space();

  std::string path_;
  UniqueFd lock_;
  std::optional<Database> database_;  // declared before its statements: those go first
  std::optional<Writer> writer_;
  PendingFigures figures_;
  std::int64_t interval_start_ms_ = -1;
};

}  // namespace portolan
