#include "plugins/chat/codec.h"

#include "plugins/chat/text.h"

#include <nlohmann/json.hpp>

#include <cstring>
#include <utility>

namespace portolan::chat {
namespace {

// Deeper is no message of ours; and what is nested needs memory for each level.
constexpr int kMaxDepth = 8;

std::string_view as_text(std::span<const std::byte> data) noexcept {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

std::string_view without_return(std::string_view text) noexcept {
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

// Takes the texts that are wanted of the outermost object, and builds nothing else.
class ContentReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  ClientObject result;
  bool found = false;

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }
  bool string(string_t& text) override {
    if (wants_value_) {
      result.content = std::move(text);
      found = true;
    } else if (std::string* kept = std::exchange(wanted_, nullptr)) {
      *kept = std::move(text);
    }
    wants_value_ = false;
    return depth_ > 0 || refuse("is no object");
  }
  bool start_object(std::size_t) override { return open(); }
  bool start_array(std::size_t) override { return depth_ == 0 ? refuse("is no object") : open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    wants_value_ = depth_ == 1 && name == "content";
    wanted_ = depth_ != 1 ? nullptr : name == "from" ? &result.from : name == "via" ? &result.via : nullptr;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return refuse("is not JSON");
  }

 private:
  bool refuse(std::string_view why) {
    if (result.problem.empty()) result.problem = why;
    return false;
  }
  bool value() {
    wanted_ = nullptr;
    if (wants_value_) return refuse("has a content that is no string");
    return depth_ > 0 || refuse("is no object");
  }
  bool open() {
    wanted_ = nullptr;
    if (wants_value_) return refuse("has a content that is no string");
    return ++depth_ <= kMaxDepth || refuse("is nested too deep");
  }
  bool close() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  bool wants_value_ = false;       // that of `content`
  std::string* wanted_ = nullptr;  // or of another that is kept
};

void append(fmt::memory_buffer& out, std::string_view text) { out.append(text.data(), text.data() + text.size()); }

}  // namespace

NextLine next_line(std::span<const std::byte> data, std::size_t max_line, bool& skipping) noexcept {
  const void* found = data.empty() ? nullptr : std::memchr(data.data(), '\n', data.size());
  const std::size_t end =
      found ? static_cast<std::size_t>(static_cast<const std::byte*>(found) - data.data()) : data.size();
  if (skipping) {
    skipping = !found;
    return {.used = found ? end + 1 : data.size()};
  }
  const std::string_view text = without_return(as_text(data.first(end)));
  if (text.size() > max_line) {
    skipping = !found;
    return {.kind = NextLine::Kind::too_long, .used = found ? end + 1 : data.size()};
  }
  if (!found) return {};
  return {.kind = NextLine::Kind::line, .text = text, .used = end + 1};
}

std::string_view last_line(std::span<const std::byte> rest, bool skipping) noexcept {
  return skipping ? std::string_view() : without_return(as_text(rest));
}

ClientObject parse_object(std::string_view line) {
  ContentReader reader;
  const bool whole = nlohmann::json::sax_parse(line.begin(), line.end(), &reader);
  if (!whole && reader.result.problem.empty()) reader.result.problem = "is not JSON";
  if (reader.result.problem.empty() && !reader.found) reader.result.problem = "has no content";
  return std::move(reader.result);
}

void encode_string(std::string_view text, fmt::memory_buffer& out) {
  out.push_back('"');
  std::size_t from = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    append(out, text.substr(from, at - from));
    from = at + 1;
    switch (byte) {
      case '"': append(out, "\\\""); break;
      case '\\': append(out, "\\\\"); break;
      case '\n': append(out, "\\n"); break;
      case '\t': append(out, "\\t"); break;
      case '\r': append(out, "\\r"); break;
      default: fmt::format_to(fmt::appender(out), "\\u{:04x}", byte);
    }
  }
  append(out, text.substr(from));
  out.push_back('"');
}

void encode(const Words& words, Format format, fmt::memory_buffer& out) {
  using Kind = Words::Kind;
  if (format == Format::json) {
    append(out, "{\"from\":");
    encode_string(words.kind == Kind::notice ? kSystem : words.from, out);
    append(out, ",\"content\":");
    encode_string(words.content, out);
    append(out, ",\"time\":\"");
    append(out, words.time);
    append(out, words.kind == Kind::action   ? "\",\"action\":true}\n"
                : words.kind == Kind::direct ? "\",\"private\":true}\n"
                                             : "\"}\n");
    return;
  }
  const auto parts = [&](std::string_view before, std::string_view between) {
    append(out, before);
    append(out, words.from);
    append(out, between);
  };
  switch (words.kind) {
    case Kind::said: parts("[", "] "); break;
    case Kind::action: parts("* ", " "); break;
    case Kind::direct: parts("[", " to you] "); break;
    case Kind::notice: append(out, "* "); break;
  }
  append(out, words.content);
  out.push_back('\n');
}

MessageRef make_message(std::uint64_t sender, const Words& words) {
  fmt::memory_buffer text;
  fmt::memory_buffer json;
  encode(words, Format::text, text);
  encode(words, Format::json, json);
  return Message::make(sender, {text.data(), text.size()}, {json.data(), json.size()});
}

}  // namespace portolan::chat
