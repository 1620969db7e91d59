// Where in a message something is, for what is said about it: "Order.items[3].price". One thread; it holds views.
#pragma once

#include "script/protobuf_schema.h"

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace portolan::protobuf {

class FieldPath {
 public:
  explicit FieldPath(const Message& message) noexcept : message_(message) {}

  void enter(const Field& field) { steps_.push_back({&field, 0, {}, Step::Kind::field}); }
  void leave() noexcept { steps_.pop_back(); }
  // Which item of the list or the map that was entered last.
  void at(std::int64_t index) noexcept {
    steps_.back().index = index;
    steps_.back().kind = Step::Kind::index;
  }
  void at(std::string_view key) noexcept {
    steps_.back().key = key;
    steps_.back().kind = Step::Kind::key;
  }

  std::string text() const {
    std::string out(message_.name.substr(message_.name.rfind('.') + 1));
    for (const Step& step : steps_) {
      out += fmt::format(".{}", step.field->name);
      if (step.kind == Step::Kind::index) out += fmt::format("[{}]", step.index);
      if (step.kind == Step::Kind::key) out += fmt::format("[\"{}\"]", step.key.substr(0, kShownKey));
    }
    return out;
  }

 private:
  static constexpr std::size_t kShownKey = 40;
  struct Step {
    enum class Kind : std::uint8_t { field, index, key };
    const Field* field;
    std::int64_t index;
    std::string_view key;
    Kind kind;
  };

  const Message& message_;
  std::vector<Step> steps_;
};

}  // namespace portolan::protobuf
