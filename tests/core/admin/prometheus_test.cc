// The text is read back by a parser of the format (exposition_formats.md of Prometheus), strict where Prometheus is.
#include "admin/admin.h"

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "support/cmocka.h"

using namespace portolan;

namespace {

constexpr CounterDeclaration kCounters[] = {{"unknown_types", "x"}, {"sessions", "a name that core has"}};
constexpr Descriptor kPlugin{.name = "binary", .summary = "x", .options = {}, .hooks = {}, .counters = kCounters};

struct Parsed {
  std::map<std::string, std::string> types;
  std::map<std::string, double> samples;  // by the whole of name and labels
  std::string error;
};

// Labels in braces at `at`; false when they are not well formed.
bool skip_labels(const std::string& line, std::size_t& at) {
  if (line[at] != '{') return true;
  ++at;
  while (at < line.size() && line[at] != '}') {
    const std::size_t name = at;
    while (at < line.size() && (std::isalnum(static_cast<unsigned char>(line[at])) || line[at] == '_')) ++at;
    if (at == name || line.compare(at, 2, "=\"") != 0) return false;
    for (at += 2; at < line.size() && line[at] != '"'; ++at) {
      if (line[at] == '\\' && (++at >= line.size() || !std::strchr("\\\"n", line[at]))) return false;
    }
    if (++at >= line.size()) return false;
    if (line[at] == ',') ++at;
  }
  return at < line.size() && line[at++] == '}';
}

Parsed parse(const std::string& text) {
  Parsed result;
  if (!text.ends_with('\n')) result.error = "no newline at the end";
  std::istringstream lines(text);
  std::string family;
  std::set<std::string> closed;
  for (std::string line; std::getline(lines, line) && result.error.empty();) {
    std::istringstream words(line);
    std::string hash, kind, name, type;
    if (line.starts_with("#")) {
      words >> hash >> kind >> name >> type;
      if (kind == "HELP") {
        if (!closed.insert(name).second) result.error = "family twice: " + name;
        family = name;
      } else if (kind == "TYPE") {
        if (name != family || !result.types.emplace(name, type).second) result.error = "TYPE out of place: " + line;
      }
      continue;
    }
    std::size_t at = line.find_first_of("{ ");
    if (at == std::string::npos) {
      result.error = "no value: " + line;
      break;
    }
    name = line.substr(0, at);
    std::string base = name;
    if (result.types[family] == "histogram") {
      for (const char* suffix : {"_bucket", "_count", "_sum"}) {
        if (name == family + suffix) base = family;
      }
    }
    if (base != family) result.error = "not with its family: " + line;
    if (result.types[family] == "counter" && !name.ends_with("_total")) result.error = "no _total: " + line;
    if (!skip_labels(line, at) || line[at] != ' ') result.error = "bad labels: " + line;
    char* end = nullptr;
    const double value = std::strtod(line.c_str() + at + 1, &end);
    if (end == line.c_str() + at + 1 || *end) result.error = "bad number: " + line;
    if (!result.samples.emplace(line.substr(0, at), value).second) result.error = "sample twice: " + line;
  }
  return result;
}

Parsed* parsed = nullptr;

double value(const std::string& name) {
  const auto found = parsed->samples.find(name);
  if (found == parsed->samples.end()) fail_msg("no sample %s", name.c_str());
  return found->second;
}

int make_page(void**) {
  StatsRegistry registry;
  const auto stats = registry.find_or_make("bin \"x\\\n\xff", kPlugin, 2);
  WorkerStats& worker = stats->worker(0);
  worker[CoreCounter::sessions].add(12);
  stats->worker(1)[CoreCounter::sessions].add(30);
  worker.refuse(Refusal::max_sessions);
  worker.refuse(Refusal::max_sessions);
  worker.open.add(3);
  worker.plugin[0].add(5);
  worker.plugin[1].add(6);
  worker.latency.record(20'000);          // 20 us
  worker.latency.record(3'000'000);       // 3 ms
  worker.latency.record(60'000'000'000);  // 60 s
  worker.message_size.record(100);
  registry.find_or_make("idle", kPlugin, 2);
  DaemonStatus status;
  status.version = "0.1.0";
  status.store_path = "/x";
  status.started_ms = 1'800'000'000'123;
  status.store.records_lost = 9;
  status.services.push_back({.name = "idle", .plugin = "binary", .listeners = {}, .error = "no", .open = 0});
  parsed = new Parsed(parse(prometheus_text(status, registry)));
  return 0;
}
int drop_page(void**) {
  delete parsed;
  return 0;
}

const std::string kLabels = "service=\"bin \\\"x\\\\\\n\xef\xbf\xbd\",plugin=\"binary\"";

void the_page_is_well_formed(void**) {
  assert_string_equal(parsed->error.c_str(), "");
  assert_true(parsed->samples.size() > 50);
  for (const auto& [name, type] : parsed->types) {
    assert_true(name.starts_with("portolan_"));
    assert_true(type == "counter" || type == "gauge" || type == "histogram");
  }
}

void counters_are_sums_over_workers(void**) {
  assert_true(value("portolan_sessions_total{" + kLabels + "}") == 42);
  assert_true(value("portolan_sessions_open{" + kLabels + "}") == 3);
  assert_true(value("portolan_refused_total{" + kLabels + ",reason=\"max_sessions\"}") == 2);
  assert_true(value("portolan_refused_total{" + kLabels + ",reason=\"hook\"}") == 0);
  assert_true(value("portolan_sessions_total{service=\"idle\",plugin=\"binary\"}") == 0);
  assert_true(value("portolan_unknown_types_total{" + kLabels + "}") == 5);
  // What core has already keeps its meaning.
  assert_true(value("portolan_binary_sessions_total{" + kLabels + "}") == 6);
}

void histograms_are_cumulative(void**) {
  const std::string bucket = "portolan_latency_seconds_bucket{" + kLabels + ",le=\"";
  assert_true(value(bucket + "1e-05\"}") == 0);
  assert_true(value(bucket + "2.5e-05\"}") == 1);
  assert_true(value(bucket + "0.0025\"}") == 1);
  assert_true(value(bucket + "0.005\"}") == 2);
  assert_true(value(bucket + "10\"}") == 2);
  assert_true(value(bucket + "+Inf\"}") == 3);
  assert_true(value("portolan_latency_seconds_count{" + kLabels + "}") == 3);
  assert_true(value("portolan_message_size_bytes_bucket{" + kLabels + ",le=\"64\"}") == 0);
  assert_true(value("portolan_message_size_bytes_bucket{" + kLabels + ",le=\"256\"}") == 1);
}

void the_daemon_itself_is_there(void**) {
  assert_true(value("portolan_info{version=\"0.1.0\"}") == 1);
  assert_true(value("portolan_start_time_seconds") == 1'800'000'000.123);
  assert_true(value("portolan_service_up{service=\"idle\",plugin=\"binary\"}") == 0);
  assert_true(value("portolan_store_records_lost_total") == 9);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(the_page_is_well_formed),
      cmocka_unit_test(counters_are_sums_over_workers),
      cmocka_unit_test(histograms_are_cumulative),
      cmocka_unit_test(the_daemon_itself_is_there),
  };
  return cmocka_run_group_tests_name("core.admin.prometheus", tests, make_page, drop_page);
}
