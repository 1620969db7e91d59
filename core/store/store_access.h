// What plugins and scripts may ask of the store: questions in SQL, values of their own, messages of their rooms.
//
// Any thread; nothing here waits for the disk. Implemented by Store; no_store() stands in where the configuration has
// none. Errors are sentences. Callbacks come on a thread of the store's, never from inside the call: post on to your own.
#pragma once

#include "base/clock.h"
#include "plugin/service.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace portolan {

// Nil, an integer, a number, or text: bytes of any content.
using StoreValue = std::variant<std::monostate, std::int64_t, double, std::string>;

struct QueryLimits {
  std::size_t rows = 10'000;
  std::size_t bytes = 4 << 20;              // of the answer: its texts, and kValueBytes for each value
  Duration time = std::chrono::seconds(5);  // from the question to the answer, the wait for its turn included
};

// One statement of SQL that reads; `parameters` are its ?1, ?2, … and as many.
struct StoreQuestion {
  std::string sql;
  std::vector<StoreValue> parameters;
  QueryLimits limits;
};

struct StoreAnswer {
  static constexpr std::size_t kValueBytes = 16;

  std::vector<std::string> columns;
  std::vector<StoreValue> values;  // row by row
  bool truncated = false;          // there was more than the limits of rows or bytes let through

  std::size_t rows() const noexcept { return columns.empty() ? 0 : values.size() / columns.size(); }
  const StoreValue& at(std::size_t row, std::size_t column) const noexcept {
    return values[row * columns.size() + column];
  }
};

// A message that a service has kept.
struct StoredMessage {
  std::int64_t id = 0;       // ascends with the order in which messages were kept, over all services
  std::int64_t time_ms = 0;  // Unix time
  std::string service;
  std::string room;
  std::string sender;
  std::string kind;
  std::string text;
  friend bool operator==(const StoredMessage&, const StoredMessage&) = default;
};

class StoreAccess {
 public:
  using QuestionId = std::uint64_t;
  using Answered = std::function<void(std::expected<StoreAnswer, std::string>)>;
  using Recalled = std::function<void(std::expected<std::vector<StoredMessage>, std::string>)>;

  // ---- SQL, reading only (core/store/README.md has the views) ----
  // Refused at once (too many wait, no store): the error, and `answered` is never called. Taken: it is called once,
  // whatever happens: the answer, what was wrong and where, or that it was cancelled or the daemon stops. It sees what
  // has been flushed.
  virtual std::expected<QuestionId, std::string> ask(StoreQuestion question, Answered answered) noexcept = 0;
  // One that waits or runs is answered soon, with an error; one that has been answered is no more.
  virtual void cancel(QuestionId id) noexcept = 0;

  // ---- Values, each under a service's name and a key ----
  // In memory at once, for all threads, and in the file with the next flush. Nil deletes. `expires_ms`: Unix time from
  // which on it is nil again; 0: never. Refused: keys of no or over kMostKeyBytes bytes, text over kMostTextBytes, a number that is
  // not one, and a new key or a longer text when store.script_keys or store.script_bytes is reached.
  static constexpr std::size_t kMostKeyBytes = 512;
  static constexpr std::size_t kMostTextBytes = 64 * 1024;
  virtual std::expected<void, std::string> put(std::string_view service, std::string_view key, StoreValue value,
                                               std::int64_t expires_ms = 0) noexcept = 0;
  // Nil when there is none.
  virtual std::expected<StoreValue, std::string> get(std::string_view service, std::string_view key) noexcept = 0;
  // Adds to an integer (nil counts as 0) and answers the sum: of two threads each gets its own. `expires_ms` holds for a
  // key that this made; one that is there keeps its time.
  virtual std::expected<std::int64_t, std::string> increment(std::string_view service, std::string_view key,
                                                             std::int64_t by, std::int64_t expires_ms = 0) noexcept = 0;

  // ---- Messages of rooms ----
  // Kept unless the disk has failed for so long that the bound of what may wait is reached: those are counted as lost.
  virtual void keep_message(std::string_view service, const KeptMessage& message) noexcept = 0;
  // The last `count` of a room, the oldest first; those that are not flushed yet are among them. As ask.
  virtual std::expected<QuestionId, std::string> recent_messages(std::string service, std::string room,
                                                                 std::uint32_t count, Recalled recalled) noexcept = 0;

  // ---- Files that came or went ----
  // Kept with the next flush, within the bound that events have.
  virtual void keep_transfer(std::string_view service, const KeptTransfer& transfer) noexcept = 0;

 protected:
  ~StoreAccess() = default;
};

// Every question and every value is refused with a sentence, and messages are forgotten.
StoreAccess& no_store() noexcept;

}  // namespace portolan
