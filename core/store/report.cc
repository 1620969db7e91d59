#include "report.h"

#include "base/file_status.h"
#include "database.h"
#include "histogram_functions.h"
#include "migrations.h"

#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <tuple>

#include <fcntl.h>
#include <unistd.h>

namespace portolan {
namespace {

constexpr int kBusyTimeoutMs = 3000;

struct Scale {
  std::int64_t unit;        // seconds of a group; 0: everything in one
  const char* resolutions;  // periods that are not longer than that
};

Scale scale_of(Grouping by) noexcept {
  switch (by) {
    case Grouping::minute: return {60, "60"};
    case Grouping::hour: return {3600, "60, 3600"};
    case Grouping::day: return {86400, "60, 3600, 86400"};
    case Grouping::total: break;
  }
  return {0, "60, 3600, 86400"};
}

// A path as a file: URI.
std::string uri_of(const std::string& path, std::string_view options) {
  std::string uri = "file:";
  if (path.front() != '/') uri += "./";
  for (const char c : path) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || std::strchr("/-_.~", c);
    uri += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return fmt::format("{}?{}", uri, options);
}

std::expected<Connection, SqlError> open_to_read(const std::string& path, std::string_view options) {
  auto connection = Connection::open(uri_of(path, options), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, kBusyTimeoutMs);
  if (!connection) return connection;
  // Opening reads nothing yet.
  if (auto version = connection->integer("PRAGMA user_version"); !version) return std::unexpected(version.error());
  return connection;
}

std::expected<Connection, std::string> connect(const std::string& path) {
  const auto found = file_status(path);
  if (!found) {
    if (errno == ENOENT) {
      return std::unexpected(
          fmt::format("store \"{}\": there is no such file: is this the store.path of the"
                      " configuration, and has the daemon run with it?",
                      path));
    }
    return std::unexpected(fmt::format("store \"{}\": cannot look at it: {}", path, std::strerror(errno)));
  }
  if (!found->is_regular()) return std::unexpected(fmt::format("store \"{}\": is not a regular file", path));
  if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0) {
    return std::unexpected(
        fmt::format("store \"{}\": user id {} may not read it: run this as the daemon's user or as"
                    " a member of its group",
                    path, ::geteuid()));
  }
  auto connection = open_to_read(path, "mode=ro");
  if (!connection && connection.error().code == SQLITE_CANTOPEN) {
    // Without its log, in a directory that we may not write, it is a file like any other; with one it is not.
    const auto log = file_status(path + "-wal");
    if (!log || log->size == 0) {
      connection = open_to_read(path, "mode=ro&immutable=1");
    }
  }
  if (!connection) return std::unexpected(explain(path, connection.error()));
  const auto version = schema_version(*connection);
  if (!version) return std::unexpected(explain(path, version.error()));
  switch (version->state) {
    case SchemaState::current: break;
    case SchemaState::newer:
      return std::unexpected(
          fmt::format("store \"{}\": its schema has version {}, newer than this portolan: use the one"
                      " that wrote it",
                      path, version->version));
    case SchemaState::older:
      return std::unexpected(
          fmt::format("store \"{}\": its schema has version {}: start the daemon once, it brings the"
                      " file forward",
                      path, version->version));
    case SchemaState::empty:
    case SchemaState::foreign: return std::unexpected(fmt::format("store \"{}\": is not a store of portolan", path));
  }
  if (auto added = add_histogram_functions(*connection); !added) {
    return std::unexpected(explain(path, added.error()));
  }
  return std::move(*connection);
}

using RowKey = std::tuple<std::int64_t, std::string, std::string>;

SqlResult read_figures(const Connection& connection, const ReportQuery& query, std::map<RowKey, ReportRow>& rows) {
  const Scale scale = scale_of(query.by);
  std::string sums;
  for (const std::string_view name : kCoreCounterNames) sums += fmt::format("sum(p.{}), ", name);
  auto select = Statement::prepare(
      connection,
      fmt::format("SELECT {} AS period, s.name, s.plugin, min(p.start), max(p.open_peak), "
                  "histogram_sum(p.latency), histogram_sum(p.size), {} 0"
                  "  FROM finest_period AS p JOIN service AS s ON s.id = p.service_id"
                  " WHERE p.resolution IN ({}) AND p.start + p.resolution > ?1 AND p.start > ?1 - 86400"
                  "   AND (?2 = '' OR s.name = ?2)"
                  " GROUP BY period, s.name, s.plugin",
                  scale.unit == 0 ? "0" : fmt::format("p.start - p.start % {}", scale.unit), sums, scale.resolutions));
  if (!select) return std::unexpected(select.error());
  select->bind(1, query.since).bind(2, query.service);
  for (;;) {
    const auto more = select->step();
    if (!more) return std::unexpected(more.error());
    if (!*more) return {};
    ReportRow row;
    const std::int64_t period = select->integer(0);
    row.service = select->text(1);
    row.plugin = select->text(2);
    row.start = scale.unit == 0 ? select->integer(3) : period;
    row.open_peak = static_cast<std::uint64_t>(select->integer(4));
    row.latency = HistogramSnapshot::parse(select->text(5));
    row.message_size = HistogramSnapshot::parse(select->text(6));
    for (std::size_t i = 0; i < kCoreCounterCount; ++i) {
      row.core[i] = static_cast<std::uint64_t>(select->integer(static_cast<int>(7 + i)));
    }
    rows.emplace(RowKey{period, row.service, row.plugin}, std::move(row));
  }
}

SqlResult read_counters(const Connection& connection, const ReportQuery& query, std::map<RowKey, ReportRow>& rows) {
  const Scale scale = scale_of(query.by);
  auto select = Statement::prepare(
      connection,
      fmt::format("SELECT {} AS period, s.name, s.plugin, c.kind = 'refusal', c.name, sum(c.value)"
                  "  FROM finest_period AS p"
                  "  JOIN service_period_counter AS c ON c.resolution = p.resolution"
                  "   AND c.start = p.start AND c.service_id = p.service_id"
                  "  JOIN service AS s ON s.id = p.service_id"
                  " WHERE p.resolution IN ({}) AND p.start + p.resolution > ?1 AND p.start > ?1 - 86400"
                  "   AND (?2 = '' OR s.name = ?2)"
                  " GROUP BY period, s.name, s.plugin, c.kind, c.name",
                  scale.unit == 0 ? "0" : fmt::format("p.start - p.start % {}", scale.unit), scale.resolutions));
  if (!select) return std::unexpected(select.error());
  select->bind(1, query.since).bind(2, query.service);
  for (;;) {
    const auto more = select->step();
    if (!more) return std::unexpected(more.error());
    if (!*more) return {};
    const auto row = rows.find({select->integer(0), select->text(1), select->text(2)});
    if (row == rows.end()) continue;
    auto& values = select->integer(3) ? row->second.refusals : row->second.counters;
    values[select->text(4)] = static_cast<std::uint64_t>(select->integer(5));
  }
}

}  // namespace

std::expected<std::vector<ReportRow>, std::string> read_report(const ReportQuery& query) {
  auto connection = connect(query.path);
  if (!connection) return std::unexpected(connection.error());
  // One transaction: both halves see the same flush.
  std::map<RowKey, ReportRow> rows;
  SqlResult done = connection->execute("BEGIN");
  if (done) done = read_figures(*connection, query, rows);
  if (done) done = read_counters(*connection, query, rows);
  if (!done) return std::unexpected(explain(query.path, done.error()));
  std::vector<ReportRow> result;
  result.reserve(rows.size());
  for (auto& [key, row] : rows) result.push_back(std::move(row));
  return result;
}

}  // namespace portolan
