#include "migrations.h"

#include "schema.h"
#include "store.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <vector>

namespace portolan {
namespace {

constexpr std::size_t kSteps = 4;
static_assert(kSteps == kSchemaVersion);

SqlResult drop_views(Connection& connection) {
  std::vector<std::string> names;
  {
    auto query = Statement::prepare(connection, "SELECT name FROM sqlite_schema WHERE type = 'view'");
    if (!query) return std::unexpected(query.error());
    for (;;) {
      const auto row = query->step();
      if (!row) return std::unexpected(row.error());
      if (!*row) break;
      names.push_back(query->text(0));
    }
  }
  // A user's own views are left alone.
  const std::string ours = kSchemaViews;
  for (const std::string& name : names) {
    if (ours.find("CREATE VIEW " + name + " AS") == std::string::npos) continue;
    if (auto dropped = connection.execute("DROP VIEW " + name); !dropped) return dropped;
  }
  return {};
}

}  // namespace

std::span<const Migration> migrations() noexcept {
  static const std::array<Migration, kSteps> steps = {
      {{1, kSchemaTables1}, {2, kSchemaTables2}, {3, kSchemaTables3}, {4, kSchemaTables4}}};
  return steps;
}

std::expected<SchemaVersion, SqlError> schema_version(Connection& connection, std::span<const Migration> steps) {
  const auto application = connection.integer("PRAGMA application_id");
  if (!application) return std::unexpected(application.error());
  const auto version = connection.integer("PRAGMA user_version");
  if (!version) return std::unexpected(version.error());
  const auto objects = connection.integer("SELECT count(*) FROM sqlite_schema");
  if (!objects) return std::unexpected(objects.error());
  const int newest = steps.back().version;
  if (*objects == 0 && *version == 0 && (*application == 0 || *application == kApplicationId)) {
    return SchemaVersion{SchemaState::empty, 0};
  }
  if (*application != kApplicationId || *version < 1) return SchemaVersion{SchemaState::foreign, *version};
  return SchemaVersion{*version > newest   ? SchemaState::newer
                       : *version < newest ? SchemaState::older
                                           : SchemaState::current,
                       *version};
}

SqlResult migrate(Connection& connection, std::span<const Migration> steps) {
  auto transaction = Transaction::begin(connection);
  if (!transaction) return std::unexpected(transaction.error());
  // Asked again inside the transaction: from here on nobody else changes it.
  const auto found = schema_version(connection, steps);
  if (!found) return std::unexpected(found.error());
  if (found->state != SchemaState::empty && found->state != SchemaState::older) return {};
  if (auto done = drop_views(connection); !done) return done;
  for (const Migration& step : steps) {
    if (step.version <= found->version) continue;
    if (auto done = connection.execute(step.sql); !done) return done;
  }
  if (auto done = connection.execute(kSchemaViews); !done) return done;
  if (auto done = connection.execute(
          fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, steps.back().version));
      !done) {
    return done;
  }
  return transaction->commit();
}

}  // namespace portolan
