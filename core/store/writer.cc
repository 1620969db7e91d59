#include "writer.h"

#include "base/net_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace portolan {
namespace {

constexpr std::int64_t kMinute = 60;
constexpr std::int64_t kHour = 3600;
constexpr std::int64_t kDay = 86400;

// Pruning is looked at so often (seconds); what it finds goes in batches of so many periods or rows at a time, so
// that no transaction is long.
constexpr std::int64_t kPruneEvery = 600;
constexpr std::int64_t kPrunePeriods = 60;
constexpr std::int64_t kPruneRows = 1000;

std::int64_t floor_to(std::int64_t time, std::int64_t unit) noexcept {
  const std::int64_t rest = time % unit;
  return time - (rest < 0 ? rest + unit : rest);
}

std::string counter_columns(const char* format) {
  std::string text;
  for (const std::string_view name : kCoreCounterNames) text += fmt::format(fmt::runtime(format), name);
  return text;
}

// A period that is there already takes in what comes: the figures of a minute arrive in several flushes, and those
// of an hour minute by minute.
std::string merge_period() {
  return " ON CONFLICT (resolution, start, service_id) DO UPDATE SET " + counter_columns("{0} = {0} + excluded.{0}, ") +
         "open_peak = max(open_peak, excluded.open_peak), open_last = excluded.open_last,"
         " latency = histogram_merge(latency, excluded.latency), size = histogram_merge(size, excluded.size)";
}

constexpr const char* kMergeCounter =
    " ON CONFLICT (resolution, start, service_id, kind, name) DO UPDATE SET value = value + excluded.value";

}  // namespace

std::expected<Writer, SqlError> Writer::make(Connection& connection) {
  Writer writer;
  writer.connection_ = &connection;
  const std::string counters = counter_columns("{}, ");
  const std::string columns =
      "INSERT INTO service_period (resolution, start, service_id, " + counters + "open_peak, open_last, latency, size)";
  std::string values;
  for (std::size_t i = 0; i < kCoreCounterCount + 7; ++i) values += i == 0 ? "?" : ", ?";
  const std::array<std::pair<Statement*, std::string>, 16> statements = {{
      {&writer.find_service_, "SELECT id FROM service WHERE name = ?1 AND plugin = ?2"},
      {&writer.add_service_, "INSERT INTO service (name, plugin) VALUES (?1, ?2)"},
      {&writer.add_period_, columns + " VALUES (" + values + ")" + merge_period()},
      {&writer.add_counter_,
       std::string("INSERT INTO service_period_counter (resolution, start, service_id, kind, name, value)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)") +
           kMergeCounter},
      {&writer.roll_period_, columns + " SELECT ?1, ?2, service_id, " + counters +
                                 "open_peak, open_last, latency, size FROM service_period"
                                 " WHERE resolution = 60 AND start = ?3" +
                                 merge_period()},
      {&writer.roll_counter_,
       std::string("INSERT INTO service_period_counter (resolution, start, service_id, kind, name, value)"
                   " SELECT ?1, ?2, service_id, kind, name, value FROM service_period_counter"
                   " WHERE resolution = 60 AND start = ?3") +
           kMergeCounter},
      {&writer.unrolled_, "SELECT min(start) FROM service_period WHERE resolution = 60 AND start >= ?1 AND start < ?2"},
      {&writer.quantiles_,
       "UPDATE service_period SET latency_p50_us = histogram_quantile(latency, 0.5) / 1000.0,"
       " latency_p90_us = histogram_quantile(latency, 0.9) / 1000.0,"
       " latency_p99_us = histogram_quantile(latency, 0.99) / 1000.0,"
       " size_p50 = histogram_quantile(size, 0.5), size_p90 = histogram_quantile(size, 0.9),"
       " size_p99 = histogram_quantile(size, 0.99) WHERE resolution = ?1 AND start = ?2"},
      {&writer.progress_, "UPDATE progress SET value = ?2 WHERE name = ?1 AND value < ?2"},
      {&writer.add_session_,
       "INSERT INTO session (session, service, peer, transport, started_ms, ended_ms, bytes_in, bytes_out, messages,"
       " ended_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"},
      {&writer.add_event_,
       "INSERT INTO event (first_ms, last_ms, kind, service, client, detail, count)"
       " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"},
      {&writer.add_transfer_,
       "INSERT INTO transfer (time_ms, service, peer, direction, name, bytes, new_bytes, duration_ms, sha256, outcome,"
       " detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"},
      {&writer.add_ban_,
       "INSERT OR REPLACE INTO ban (address, since_ms, until_ms, reason, service, violations)"
       " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"},
      {&writer.lift_ban_, "DELETE FROM ban WHERE address = ?1"},
      {&writer.set_value_,
       "INSERT OR REPLACE INTO script_values (service, key, value, changed, expires) VALUES (?1, ?2, ?3, ?4, ?5)"},
      {&writer.delete_value_, "DELETE FROM script_values WHERE service = ?1 AND key = ?2"},
  }};
  for (const auto& [statement, sql] : statements) {
    auto prepared = Statement::prepare(connection, sql);
    if (!prepared) return std::unexpected(prepared.error());
    *statement = std::move(*prepared);
  }
  auto messages = MessageWriter::make(connection);
  if (!messages) return std::unexpected(messages.error());
  writer.messages_ = std::move(*messages);
  const auto rolled = connection.integer("SELECT value FROM progress WHERE name = 'rolled_up_to'");
  if (!rolled) return std::unexpected(rolled.error());
  writer.rolled_up_to_ = *rolled;
  const auto oldest = writer.oldest_minute(*rolled, kNone);
  if (!oldest) return std::unexpected(oldest.error());
  writer.unrolled_from_ = *oldest;
  return writer;
}

std::expected<bool, SqlError> Writer::write(const PendingFigures& figures, const PendingRecords& records,
                                            std::int64_t now, std::int64_t roll_before, const Retention& retention) {
  if (figures.empty() && records.empty() && unrolled_from_ >= roll_before) return false;

  auto transaction = Transaction::begin(*connection_);
  if (!transaction) return std::unexpected(transaction.error());
  std::int64_t unrolled_from = unrolled_from_;
  for (const auto& [minute, services] : figures.minutes()) {
    if (minute >= rolled_up_to_) unrolled_from = std::min(unrolled_from, minute);
  }
  const bool roll = unrolled_from < roll_before;
  const std::int64_t pruned_before = pruned_at_;
  // A clock that has just jumped may jump back: nothing is deleted on its word before it has held for a while.
  const bool jumped = pruned_at_ < 0 || now < pruned_at_ || now - pruned_at_ > kDay;
  const bool look_for_old = !jumped && now - pruned_at_ >= kPruneEvery;
  if (jumped) pruned_at_ = now;
  const auto undone = [&](SqlError error) {
    pruned_at_ = pruned_before;
    messages_.undone();
    return std::unexpected(std::move(error));
  };

  if (auto done = write_figures(figures); !done) return undone(done.error());
  if (auto done = write_records(records); !done) return undone(done.error());
  if (auto done = write_values(records.values); !done) return undone(done.error());
  if (records.messages) {
    if (auto done = messages_.write(*records.messages, retention.messages_per_service); !done)
      return undone(done.error());
  }
  if (roll) {
    if (auto done = roll_up(roll_before); !done) return undone(done.error());
    const auto oldest = oldest_minute(roll_before, kNone);
    if (!oldest) return undone(oldest.error());
    unrolled_from = *oldest;
  }
  if (look_for_old) {
    if (auto done = prune(now, retention); !done) return undone(done.error());
  }
  if (auto done = transaction->commit(); !done) return undone(done.error());

  // Only what is committed has happened.
  messages_.committed();
  if (roll) rolled_up_to_ = std::max(rolled_up_to_, roll_before);
  unrolled_from_ = unrolled_from;
  return true;
}

SqlResult Writer::write_messages(const MessageQueue::Group& group, const Retention& retention) {
  auto transaction = Transaction::begin(*connection_);
  if (!transaction) return std::unexpected(transaction.error());
  auto done = messages_.write(group, retention.messages_per_service);
  if (done) done = transaction->commit();
  done ? messages_.committed() : messages_.undone();
  return done;
}

SqlResult Writer::write_figures(const PendingFigures& figures) {
  for (const auto& [minute, services] : figures.minutes()) {
    // A minute that has been rolled up already (the clock went back) goes into its hour and day at once.
    const bool late = minute < rolled_up_to_;
    const std::array<std::int64_t, 3> resolutions = {kMinute, kHour, kDay};
    for (const std::int64_t resolution : std::span(resolutions).first(late ? 3 : 1)) {
      const std::int64_t start = floor_to(minute, resolution);
      for (const auto& [key, service_figures] : services) {
        const auto service = service_id(key);
        if (!service) return std::unexpected(service.error());
        if (auto done = add_row(resolution, start, *service, service_figures); !done) return done;
      }
      if (auto done = set_quantiles(resolution, start); !done) return done;
    }
  }
  return {};
}

std::expected<std::int64_t, SqlError> Writer::service_id(const ServiceKey& key) {
  const auto found = find_service_.bind(1, key.service).bind(2, key.plugin).step();
  if (!found) return std::unexpected(found.error());
  if (*found) {
    const std::int64_t id = find_service_.integer(0);
    find_service_.reset();
    return id;
  }
  if (auto done = add_service_.bind(1, key.service).bind(2, key.plugin).run(); !done) {
    return std::unexpected(done.error());
  }
  return sqlite3_last_insert_rowid(connection_->get());
}

SqlResult Writer::add_row(std::int64_t resolution, std::int64_t start, std::int64_t service,
                          const ServiceFigures& figures) {
  add_period_.bind(1, resolution).bind(2, start).bind(3, service);
  int index = 4;
  for (const std::uint64_t value : figures.core) add_period_.bind(index++, value);
  for (const std::uint64_t value : {figures.open_peak, figures.open_last}) add_period_.bind(index++, value);
  for (const HistogramSnapshot* histogram : {&figures.latency, &figures.message_size}) {
    if (histogram->empty()) {
      add_period_.bind(index++, nullptr);
    } else {
      add_period_.bind_blob(index++, histogram->serialize());
    }
  }
  if (auto done = add_period_.run(); !done) return done;

  const auto add_counter = [&](std::string_view kind, std::string_view name, std::uint64_t value) -> SqlResult {
    if (value == 0) return {};
    add_counter_.bind(1, resolution).bind(2, start).bind(3, service);
    return add_counter_.bind(4, kind).bind(5, name).bind(6, value).run();
  };
  for (std::size_t i = 0; i < kRefusalCount; ++i) {
    if (auto done = add_counter("refusal", to_string(static_cast<Refusal>(i)), figures.refusals[i]); !done) return done;
  }
  for (const auto& [name, value] : figures.plugin) {
    if (auto done = add_counter("plugin", name, value); !done) return done;
  }
  return {};
}

SqlResult Writer::set_quantiles(std::int64_t resolution, std::int64_t start) {
  return quantiles_.bind(1, resolution).bind(2, start).run();
}

SqlResult Writer::set_progress(const char* name, std::int64_t value) {
  return progress_.bind(1, name).bind(2, value).run();
}

SqlResult Writer::write_records(const PendingRecords& records) {
  for (const SessionRecord& record : records.sessions) {
    auto done = add_session_.bind(1, record.id)
                    .bind(2, record.service)
                    .bind(3, record.peer)
                    .bind(4, to_string(record.transport))
                    .bind(5, record.started_ms)
                    .bind(6, record.ended_ms)
                    .bind(7, record.bytes_in)
                    .bind(8, record.bytes_out)
                    .bind(9, record.messages)
                    .bind(10, record.ended_by)
                    .run();
    if (!done) return done;
  }
  for (const TransferRecord& record : records.transfers) {
    auto done = add_transfer_.bind(1, record.time_ms)
                    .bind(2, record.service)
                    .bind(3, record.peer)
                    .bind(4, record.direction)
                    .bind(5, record.name)
                    .bind(6, record.bytes)
                    .bind(7, record.new_bytes)
                    .bind(8, record.duration_ms)
                    .bind(9, record.sha256)
                    .bind(10, record.outcome)
                    .bind(11, record.detail)
                    .run();
    if (!done) return done;
  }
  for (const PendingEvent& event : records.events) {
    auto done = add_event_.bind(1, event.record.time_ms)
                    .bind(2, event.last_ms)
                    .bind(3, event.record.kind)
                    .bind(4, event.record.service)
                    .bind(5, event.record.client)
                    .bind(6, event.record.detail)
                    .bind(7, event.record.count)
                    .run();
    if (!done) return done;
  }
  for (const auto& [address, record] : records.bans) {
    const Ban& ban = record.ban;
    auto done = record.lifted ? lift_ban_.bind(1, address).run()
                              : add_ban_.bind(1, address)
                                    .bind(2, ban.since_ms)
                                    .bind(3, ban.until_ms)
                                    .bind(4, ban.reason)
                                    .bind(5, ban.service)
                                    .bind(6, ban.violations)
                                    .run();
    if (!done) return done;
  }
  return {};
}

SqlResult Writer::write_values(const std::vector<ValueChange>& values) {
  for (const ValueChange& change : values) {
    auto done = change.value.index() == 0 ? delete_value_.bind(1, change.service()).bind(2, change.key()).run()
                                          : set_value_.bind(1, change.service())
                                                .bind(2, change.key())
                                                .bind_value(3, change.value)
                                                .bind(4, change.changed_ms)
                                                .bind(5, change.expires_ms)
                                                .run();
    if (!done) return done;
  }
  return {};
}

std::expected<std::int64_t, SqlError> Writer::oldest_minute(std::int64_t from, std::int64_t before) {
  const auto row = unrolled_.bind(1, from).bind(2, before).step();
  if (!row) return std::unexpected(row.error());
  const std::int64_t minute = !*row || unrolled_.is_null(0) ? kNone : unrolled_.integer(0);
  unrolled_.reset();
  return minute;
}

SqlResult Writer::roll_up(std::int64_t before) {
  for (std::int64_t from = rolled_up_to_;;) {
    const auto minute = oldest_minute(from, before);
    if (!minute) return std::unexpected(minute.error());
    if (*minute == kNone) break;
    for (const std::int64_t resolution : {kHour, kDay}) {
      const std::int64_t start = floor_to(*minute, resolution);
      if (auto done = roll_period_.bind(1, resolution).bind(2, start).bind(3, *minute).run(); !done) return done;
      if (auto done = roll_counter_.bind(1, resolution).bind(2, start).bind(3, *minute).run(); !done) return done;
      if (auto done = set_quantiles(resolution, start); !done) return done;
    }
    from = *minute + kMinute;
  }
  return set_progress("rolled_up_to", before);
}

// Whole hours of minutes and whole days of hours go, so that what is coarser stands in for all that is gone, and only
// what has been rolled up.
SqlResult Writer::prune(std::int64_t now, const Retention& retention) {
  const int before = sqlite3_total_changes(connection_->get());
  // Marks far in the future are those of a clock that was wrong: from the next hour (day) on there are minutes (hours)
  // again.
  for (const auto& [name, unit] : {std::pair("minutes_from", kHour), std::pair("hours_from", kDay)}) {
    auto done =
        connection_->execute(fmt::format("UPDATE progress SET value = {1} WHERE name = '{0}' AND value > {1} + {2}",
                                         name, floor_to(now, unit) + unit, kDay));
    if (!done) return done;
  }
  const std::int64_t rolled = rolled_up_to_;
  if (auto done = prune_periods(kMinute, floor_to(std::min(now - retention.minutes, rolled), kHour), "minutes_from");
      !done) {
    return done;
  }
  if (auto done = prune_periods(kHour, floor_to(std::min(now - retention.hours, rolled), kDay), "hours_from"); !done) {
    return done;
  }
  if (auto done = prune_periods(kDay, floor_to(now - retention.days, kDay), nullptr); !done) return done;
  const std::int64_t oldest_ms = (now - retention.days) * 1000;
  for (const auto& [table, time] :
       {std::pair("session", "ended_ms"), std::pair("event", "last_ms"), std::pair("transfer", "time_ms")}) {
    auto done = connection_->execute(fmt::format(
        "DELETE FROM {0} WHERE id IN (SELECT id FROM {0} WHERE {1} < {2} ORDER BY {1} LIMIT {3});"
        "DELETE FROM {0} WHERE id IN (SELECT id FROM {0} WHERE id <= (SELECT max(id) FROM {0}) - {4} ORDER BY id"
        " LIMIT {3})",
        table, time, oldest_ms, kPruneRows, kMaxRecordRows));
    if (!done) return done;
  }
  if (auto done = messages_.prune((now - retention.messages) * 1000, retention.messages_per_service); !done)
    return done;
  if (auto done = connection_->execute(fmt::format("DELETE FROM ban WHERE until_ms <= {}", now * 1000)); !done) {
    return done;
  }
  // Where something went there may be more: then the next write looks again.
  if (sqlite3_total_changes(connection_->get()) == before) pruned_at_ = now;
  return {};
}

SqlResult Writer::prune_periods(std::int64_t resolution, std::int64_t before, const char* progress) {
  const auto oldest = connection_->integer(
      fmt::format("SELECT min(start) FROM service_period WHERE resolution = {} AND start < {}", resolution, before));
  if (!oldest) return std::unexpected(oldest.error());
  const auto any = connection_->integer(fmt::format(
      "SELECT EXISTS (SELECT 1 FROM service_period WHERE resolution = {} AND start < {})", resolution, before));
  if (!any) return std::unexpected(any.error());
  if (*any == 0) return {};
  // Figures that are taken from hours instead of minutes must be so for whole hours: the mark moves first, in the same
  // transaction, to the end of what this batch may reach.
  const std::int64_t coarser = resolution == kMinute ? kHour : kDay;
  const std::int64_t end =
      std::min(before, floor_to(*oldest + kPrunePeriods * resolution, coarser) + (resolution == kDay ? 0 : coarser));
  if (progress) {
    if (auto done = set_progress(progress, end); !done) return done;
  }
  for (const char* table : {"service_period_counter", "service_period"}) {
    auto done = connection_->execute(
        fmt::format("DELETE FROM {} WHERE resolution = {} AND start < {}", table, resolution, end));
    if (!done) return done;
  }
  return {};
}

}  // namespace portolan
