// A result as a reader sees it: rows of servers, columns of figures, a target and a verdict. The driver
// prints it as text, as markdown or as JSON, always from this one form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace portolan::bench {

enum class Verdict : std::uint8_t { kNone, kOk, kWithinNoise, kMiss, kFailed, kSkipped };

struct Column {
  std::string key;    // in JSON
  std::string title;  // for people
  int decimals = 0;
};

struct Row {
  std::string server;
  std::vector<std::optional<double>> values;  // one for each column
  std::string target;
  Verdict verdict = Verdict::kNone;
  std::string why;                   // of a verdict that is failed or skipped
  std::vector<std::string> marks{};  // behind the values, for people; a note says what they mean
};

struct Table {
  std::string bench;
  std::string title;
  std::vector<Column> columns;
  std::vector<Row> rows;
  std::vector<std::string> notes;
  std::string subject = "server";  // what a row is
};

std::string to_text(const Table& table);
std::string to_markdown(const Table& table);
std::string to_json(const std::vector<Table>& tables);

}  // namespace portolan::bench
