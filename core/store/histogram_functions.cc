#include "histogram_functions.h"

#include "base/callback.h"
#include "stats/histogram.h"

#include <new>

namespace portolan {
namespace {

std::string_view bytes_of(sqlite3_value* value) noexcept {
  const void* const bytes = sqlite3_value_blob(value);
  return bytes ? std::string_view(static_cast<const char*>(bytes), static_cast<std::size_t>(sqlite3_value_bytes(value)))
               : std::string_view();
}

void answer(sqlite3_context* context, const HistogramSnapshot& histogram) {
  if (histogram.empty()) return sqlite3_result_null(context);
  const std::string bytes = histogram.serialize();
  sqlite3_result_blob64(context, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
}

// SQLite is C: nothing may be thrown through it.
template <typename Body>
void guarded(sqlite3_context* context, Body body) noexcept {
  try {
    body();
  } catch (...) {
    sqlite3_result_error_nomem(context);
  }
}

void merge(sqlite3_context* context, int, sqlite3_value** arguments) noexcept {
  guarded(context, [&] {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return sqlite3_result_value(context, arguments[1]);
    if (sqlite3_value_type(arguments[1]) == SQLITE_NULL) return sqlite3_result_value(context, arguments[0]);
    HistogramSnapshot sum = HistogramSnapshot::parse(bytes_of(arguments[0]));
    sum.add(HistogramSnapshot::parse(bytes_of(arguments[1])));
    answer(context, sum);
  });
}

void quantile(sqlite3_context* context, int, sqlite3_value** arguments) noexcept {
  guarded(context, [&] {
    const HistogramSnapshot histogram = HistogramSnapshot::parse(bytes_of(arguments[0]));
    if (histogram.empty()) return sqlite3_result_null(context);
    sqlite3_result_int64(context, static_cast<sqlite3_int64>(histogram.quantile(sqlite3_value_double(arguments[1]))));
  });
}

void sum_step(sqlite3_context* context, int, sqlite3_value** arguments) noexcept {
  guarded(context, [&] {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    auto** const slot =
        static_cast<HistogramSnapshot**>(sqlite3_aggregate_context(context, sizeof(HistogramSnapshot*)));
    if (!slot) throw std::bad_alloc();
    if (!*slot) *slot = new HistogramSnapshot();  // freed by sum_final, which SQLite calls even after an error
    (*slot)->add(HistogramSnapshot::parse(bytes_of(arguments[0])));
  });
}

void sum_final(sqlite3_context* context) noexcept {
  auto** const slot = static_cast<HistogramSnapshot**>(sqlite3_aggregate_context(context, 0));
  if (!slot || !*slot) return sqlite3_result_null(context);
  const std::unique_ptr<HistogramSnapshot> sum(*slot);
  guarded(context, [&] { answer(context, *sum); });
}

}  // namespace

SqlResult add_histogram_functions(Connection& connection) {
  constexpr int kFlags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
  sqlite3* const handle = connection.get();
  if (sqlite3_create_function_v2(handle, "histogram_merge", 2, kFlags, nullptr, c_callback(merge), nullptr, nullptr,
                                 nullptr) ||
      sqlite3_create_function_v2(handle, "histogram_quantile", 2, kFlags, nullptr, c_callback(quantile), nullptr,
                                 nullptr, nullptr) ||
      sqlite3_create_function_v2(handle, "histogram_sum", 1, kFlags, nullptr, nullptr, c_callback(sum_step),
                                 c_callback(sum_final), nullptr)) {
    return std::unexpected(connection.error());
  }
  return {};
}

}  // namespace portolan
