// Brings a store's schema forward to the newest version, in one transaction: all of it or none of it.
//
// Refuses a database of a newer version, and one that is not ours. Looking (schema_state) changes nothing in the
// file; migrate is called on the only writing connection, before anything else uses it.
#pragma once

#include "sqlite.h"

#include <cstdint>
#include <span>

namespace portolan {

// The SQL that makes `version` out of the version before it (out of an empty file for the first). Never edited once
// it was released: a change is a further step. Views are not its business.
struct Migration {
  int version;
  const char* sql;
};
std::span<const Migration> migrations() noexcept;  // in ascending order; the last is kSchemaVersion

enum class SchemaState : std::uint8_t { empty, current, older, newer, foreign };
struct SchemaVersion {
  SchemaState state;
  std::int64_t version;
};
std::expected<SchemaVersion, SqlError> schema_version(Connection& connection,
                                                      std::span<const Migration> steps = migrations());

SqlResult migrate(Connection& connection, std::span<const Migration> steps = migrations());

}  // namespace portolan
