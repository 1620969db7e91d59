#include "table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace portolan::bench {
namespace {

std::string figure(const std::optional<double>& value, int decimals) {
  if (!value) return "-";
  if (decimals > 0) return fmt::format("{:.{}f}", *value, decimals);
  // Groups of three digits, without asking the locale of the day.
  std::string digits = fmt::format("{}", std::llround(std::abs(*value)));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<std::size_t>(at), ",");
  return (*value <= -0.5 ? "-" : "") + digits;
}

std::string verdict_text(const Row& row) {
  switch (row.verdict) {
    case Verdict::kNone: return "";
    case Verdict::kOk: return "ok";
    case Verdict::kWithinNoise: return "MISS, within noise";
    case Verdict::kMiss: return "MISS";
    case Verdict::kFailed: return "FAILED: " + row.why;
    case Verdict::kSkipped: return row.why;
  }
  return "";
}

std::vector<std::vector<std::string>> cells(const Table& table) {
  std::vector<std::vector<std::string>> lines;
  auto& head = lines.emplace_back();
  head.push_back(table.subject);
  for (const Column& column : table.columns) head.push_back(column.title);
  head.insert(head.end(), {"target", "verdict"});
  for (const Row& row : table.rows) {
    auto& line = lines.emplace_back();
    line.push_back(row.server);
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      line.push_back(figure(i < row.values.size() ? row.values[i] : std::nullopt, table.columns[i].decimals));
      if (i < row.marks.size()) line.back() += row.marks[i];
    }
    line.insert(line.end(), {row.target, verdict_text(row)});
  }
  return lines;
}

bool is_figure(const Table& table, std::size_t column) { return column >= 1 && column <= table.columns.size(); }

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

const char* verdict_word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNone: return "none";
    case Verdict::kOk: return "ok";
    case Verdict::kWithinNoise: return "miss_within_noise";
    case Verdict::kMiss: return "miss";
    case Verdict::kFailed: return "failed";
    case Verdict::kSkipped: return "skipped";
  }
  return "none";
}

std::string row_json(const Table& table, const Row& row) {
  std::string out = fmt::format("{{\"server\": {}", quoted(row.server));
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const bool known = i < row.values.size() && row.values[i] && std::isfinite(*row.values[i]);
    out +=
        fmt::format(", {}: {}", quoted(table.columns[i].key), known ? fmt::format("{:.6g}", *row.values[i]) : "null");
  }
  out += fmt::format(", \"target\": {}, \"verdict\": \"{}\", \"why\": {}}}", quoted(row.target),
                     verdict_word(row.verdict), quoted(row.why));
  return out;
}

}  // namespace

std::string to_text(const Table& table) {
  const auto lines = cells(table);
  std::vector<std::size_t> widths(lines.front().size());
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string out = fmt::format("{}: {}\n", table.bench, table.title);
  for (const auto& line : lines) {
    std::string text = " ";
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += is_figure(table, i) ? fmt::format(" {:>{}} ", line[i], widths[i])
                                  : fmt::format(" {:<{}} ", line[i], widths[i]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + '\n';
  }
  for (const std::string& note : table.notes) out += fmt::format("  note: {}\n", note);
  return out;
}

std::string to_markdown(const Table& table) {
  const auto lines = cells(table);
  std::string out = fmt::format("**{}**: {}\n\n", table.bench, table.title);
  for (std::size_t at = 0; at < lines.size(); ++at) {
    out += '|';
    for (const std::string& cell : lines[at]) out += fmt::format(" {} |", cell);
    out += '\n';
    if (at != 0) continue;
    out += '|';
    for (std::size_t i = 0; i < lines[at].size(); ++i) out += is_figure(table, i) ? " ---: |" : " --- |";
    out += '\n';
  }
  for (const std::string& note : table.notes) out += fmt::format("\n{}.\n", note);
  return out;
}

std::string to_json(const std::vector<Table>& tables) {
  std::string out = "{\"tables\": [";
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const Table& table = tables[i];
    out += fmt::format("{}\n  {{\"bench\": {}, \"title\": {}, \"rows\": [", i == 0 ? "" : ",", quoted(table.bench),
                       quoted(table.title));
    for (std::size_t r = 0; r < table.rows.size(); ++r) {
      out += fmt::format("{}\n    {}", r == 0 ? "" : ",", row_json(table, table.rows[r]));
    }
    out += "],\n    \"notes\": [";
    for (std::size_t n = 0; n < table.notes.size(); ++n) out += (n == 0 ? "" : ", ") + quoted(table.notes[n]);
    out += "]}";
  }
  return out + "\n]}\n";
}

}  // namespace portolan::bench
