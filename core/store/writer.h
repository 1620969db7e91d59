// What goes into the file, and how: the statements of the one writing connection.
//
// Each write is one transaction: figures into their minutes, records, finished minutes into their hours and days,
// and a bounded batch of what is past its time out. Owned by the store's thread; the connection outlives it. Never
// throws but std::bad_alloc. Time is what the caller says it is: it may jump, back too.
#pragma once

#include "figures.h"
#include "message_writer.h"
#include "record_queue.h"
#include "sqlite.h"

#include <cstdint>
#include <memory>

namespace portolan {

struct Retention {  // in seconds
  std::int64_t minutes = 2 * 86400;
  std::int64_t hours = 30 * 86400;
  std::int64_t days = 90 * 86400;  // and sessions, events and transfers, as far as they are within their bounds
  std::int64_t messages = 90 * 86400;
  std::int64_t messages_per_service = 100'000;  // rows
};

class Writer {
 public:
  // Rows of sessions, of events, and of transfers that are kept at most: whatever their age.
  static constexpr std::int64_t kMaxRecordRows = 200'000;

  static std::expected<Writer, SqlError> make(Connection& connection);

  // True: committed. False: there was nothing to do, and the file was not touched. `roll_before`: minutes that begin
  // before it have ended (Unix seconds).
  std::expected<bool, SqlError> write(const PendingFigures& figures, const PendingRecords& records, std::int64_t now,
                                      std::int64_t roll_before, const Retention& retention);
  // A group of messages alone, in a transaction of its own.
  SqlResult write_messages(const MessageQueue::Group& group, const Retention& retention);

 private:
  static constexpr std::int64_t kNone = INT64_MAX;
  Writer() = default;
  SqlResult write_figures(const PendingFigures& figures);
  SqlResult write_records(const PendingRecords& records);
  SqlResult write_values(const std::vector<ValueChange>& values);
  SqlResult roll_up(std::int64_t before);
  // The oldest minute at or after `from`, and before `before`, that is in the file.
  std::expected<std::int64_t, SqlError> oldest_minute(std::int64_t from, std::int64_t before);
  SqlResult prune(std::int64_t now, const Retention& retention);
  SqlResult prune_periods(std::int64_t resolution, std::int64_t before, const char* progress);
  std::expected<std::int64_t, SqlError> service_id(const ServiceKey& key);
  SqlResult add_row(std::int64_t resolution, std::int64_t start, std::int64_t service, const ServiceFigures& figures);
  SqlResult set_quantiles(std::int64_t resolution, std::int64_t start);
  SqlResult set_progress(const char* name, std::int64_t value);

  Connection* connection_ = nullptr;
  std::int64_t rolled_up_to_ = 0;       // of the file, as last committed
  std::int64_t unrolled_from_ = kNone;  // the oldest minute in the file that is not rolled up
  std::int64_t pruned_at_ = -1;         // when pruning last had nothing more to do, or the clock had jumped
  Statement find_service_, add_service_, add_period_, add_counter_, roll_period_, roll_counter_, unrolled_, quantiles_,
      progress_, add_session_, add_event_, add_transfer_, add_ban_, lift_ban_, set_value_, delete_value_;
  MessageWriter messages_;
};

}  // namespace portolan
