#include "transfer/protocol.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

namespace portolan::transfer {
namespace {

constexpr std::string_view kMagic = "PTFT";
constexpr std::size_t kMaxText = 1024;

template <typename Number>
constexpr std::size_t kSizeOf = sizeof(Number);

// Takes numbers off the front; once something was lacking, all that follows is zero.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) noexcept : rest_(bytes) {}

  template <typename Number>
  Number number() noexcept {
    std::make_unsigned_t<Number> value = 0;
    for (const std::byte byte : bytes(kSizeOf<Number>)) {
      value = static_cast<std::make_unsigned_t<Number>>((std::uint64_t{value} << 8U) | std::to_integer<unsigned>(byte));
    }
    return static_cast<Number>(value);
  }
  std::span<const std::byte> bytes(std::size_t count) noexcept {
    if (rest_.size() < count) {
      lacking_ = true;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  template <std::size_t kCount>
  std::array<std::byte, kCount> array() noexcept {
    std::array<std::byte, kCount> out{};
    std::ranges::copy(bytes(kCount), out.begin());
    return out;
  }
  std::span<const std::byte> rest() noexcept { return std::exchange(rest_, {}); }
  std::string_view text() noexcept {
    const auto taken = rest();
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  void fail() noexcept { lacking_ = true; }
  bool exact() const noexcept { return !lacking_ && rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
  bool lacking_ = false;
};

class Writer {
 public:
  Writer(std::vector<std::byte>& out, std::uint8_t type) : out_(out), start_(out.size()) {
    number(type);
    out_.resize(out_.size() + kHeader - 1);
  }
  template <typename Number>
  Writer& number(Number value) {
    for (std::size_t i = kSizeOf<Number>; i-- > 0;) {
      out_.push_back(static_cast<std::byte>(static_cast<std::make_unsigned_t<Number>>(value) >> (8 * i)));
    }
    return *this;
  }
  Writer& bytes(std::span<const std::byte> data) {
    out_.insert(out_.end(), data.begin(), data.end());
    return *this;
  }
  Writer& text(std::string_view data) { return bytes(std::as_bytes(std::span(data))); }
  void length(std::size_t payload) noexcept {
    for (std::size_t i = 0; i < 3; ++i) out_[start_ + 1 + i] = static_cast<std::byte>(payload >> (16 - 8 * i));
  }
  void done() noexcept { length(out_.size() - start_ - kHeader); }

 private:
  std::vector<std::byte>& out_;
  std::size_t start_;
};

// ---- Each message's payload, read and written ----

void read(Reader& in, Hello& to) noexcept {
  const auto magic = in.bytes(kMagic.size());
  if (!magic.empty() && std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) in.fail();
  if (in.number<std::uint8_t>() != kVersion) in.fail();
  to.transfer = in.array<sizeof(TransferId)>();
  to.files = in.number<std::uint64_t>();
  to.bytes = in.number<std::uint64_t>();
}
void write(Writer& out, const Hello& from) {
  out.text(kMagic).number(kVersion).bytes(from.transfer).number(from.files).number(from.bytes);
}

void read(Reader& in, Entry& to) noexcept {
  to.id = in.number<std::uint32_t>();
  const auto kind = in.number<std::uint8_t>();
  if (kind > static_cast<std::uint8_t>(EntryKind::directory)) in.fail();
  to.kind = static_cast<EntryKind>(kind);
  to.mode = in.number<std::uint16_t>();
  to.modified_seconds = in.number<std::int64_t>();
  to.modified_nanoseconds = in.number<std::uint32_t>();
  to.size = in.number<std::uint64_t>();
  to.data = in.number<std::uint64_t>();
  // Sizes are those of off_t, so that no sum of two of them overflows.
  constexpr std::uint64_t kMostSize = INT64_MAX;
  if (to.modified_nanoseconds >= 1'000'000'000 || to.size > kMostSize || to.data > to.size) in.fail();
  to.path = in.text();
}
void write(Writer& out, const Entry& from) {
  out.number(from.id).number(static_cast<std::uint8_t>(from.kind)).number(from.mode).number(from.modified_seconds);
  out.number(from.modified_nanoseconds).number(from.size).number(from.data);
  out.text(from.path.substr(0, kMaxPayload - 64));
}

void read(Reader& in, Prefix& to) noexcept {
  to.id = in.number<std::uint32_t>();
  to.first = in.number<std::uint64_t>();
  to.digests = in.rest();
  if (to.digests.size() % sizeof(Digest) != 0 || to.count() == 0 || to.count() > kMaxDigests) in.fail();
}
void write(Writer& out, const Prefix& from) { out.number(from.id).number(from.first).bytes(from.digests); }

void read(Reader& in, Begin& to) noexcept {
  to.id = in.number<std::uint32_t>();
  to.offset = in.number<std::uint64_t>();
}
void write(Writer& out, const Begin& from) { out.number(from.id).number(from.offset); }

void read(Reader& in, Hole& to) noexcept { to.size = in.number<std::uint64_t>(); }
void write(Writer& out, const Hole& from) { out.number(from.size); }

void read(Reader& in, End& to) noexcept { to.digest = in.array<sizeof(Digest)>(); }
void write(Writer& out, const End& from) { out.bytes(from.digest); }

void read(Reader& in, Abandon& to) noexcept {
  to.id = in.number<std::uint32_t>();
  to.why = in.text();
}
void write(Writer& out, const Abandon& from) { out.number(from.id).text(from.why.substr(0, kMaxText)); }

void read(Reader& in, Welcome&) noexcept {
  if (in.number<std::uint8_t>() != kVersion) in.fail();
}
void write(Writer& out, const Welcome&) { out.number(kVersion); }

void read(Reader& in, Refused& to) noexcept { to.why = in.text(); }
void write(Writer& out, const Refused& from) { out.text(from.why.substr(0, kMaxText)); }

void read(Reader& in, Have& to) noexcept {
  to.id = in.number<std::uint32_t>();
  to.length = in.number<std::uint64_t>();
}
void write(Writer& out, const Have& from) { out.number(from.id).number(from.length); }

void read(Reader& in, SendFrom& to) noexcept {
  to.id = in.number<std::uint32_t>();
  to.offset = in.number<std::uint64_t>();
}
void write(Writer& out, const SendFrom& from) { out.number(from.id).number(from.offset); }

void read(Reader& in, Result& to) noexcept {
  to.id = in.number<std::uint32_t>();
  const auto outcome = in.number<std::uint8_t>();
  if (outcome >= kOutcomes) in.fail();
  to.outcome = static_cast<Outcome>(outcome);
  to.text = in.text();
}
void write(Writer& out, const Result& from) {
  out.number(from.id).number(static_cast<std::uint8_t>(from.outcome)).text(from.text.substr(0, kMaxText));
}

void read(Reader& in, Progress& to) noexcept {
  to.bytes = in.number<std::uint64_t>();
  const auto activity = in.number<std::uint8_t>();
  if (activity > static_cast<std::uint8_t>(Activity::asking)) in.fail();
  to.activity = static_cast<Activity>(activity);
}
void write(Writer& out, const Progress& from) {
  out.number(from.bytes).number(static_cast<std::uint8_t>(from.activity));
}

void read(Reader& in, Finish& to) noexcept { to.asked = in.number<std::uint32_t>(); }
void write(Writer& out, const Finish& from) { out.number(from.asked); }
void read(Reader&, Ping&) noexcept {}
void write(Writer&, const Ping&) {}
void read(Reader&, Bye&) noexcept {}
void write(Writer&, const Bye&) {}

template <typename One>
bool read_as(std::uint8_t type, std::span<const std::byte> payload, Message& message, bool& exact) noexcept {
  if constexpr (std::is_same_v<One, Data>) {
    return false;
  } else {
    if (type != One::kType) return false;
    Reader in(payload);
    One one;
    read(in, one);
    exact = in.exact();
    message = one;
    return true;
  }
}

template <typename... Each>
bool read_any(std::variant<Each...>& message, std::uint8_t type, std::span<const std::byte> payload,
              bool& exact) noexcept {
  return (read_as<Each>(type, payload, message, exact) || ...);
}

}  // namespace

Digest Prefix::at(std::size_t index) const noexcept {
  Digest digest;
  std::ranges::copy(digests.subspan(index * sizeof(Digest), sizeof(Digest)), digest.begin());
  return digest;
}

std::string_view to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::received: return "received";
    case Outcome::identical: return "identical";
    case Outcome::skipped: return "skipped";
    case Outcome::refused: return "refused";
    case Outcome::failed: return "failed";
    case Outcome::busy: return "busy";
  }
  return "?";
}

std::string_view to_string(Activity activity) noexcept {
  switch (activity) {
    case Activity::receiving: return "receiving";
    case Activity::checking: return "checking";
    case Activity::syncing: return "syncing";
    case Activity::asking: return "asking";
  }
  return "?";
}

std::expected<std::optional<Parsed>, std::string_view> parse(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() < kHeader) return std::nullopt;
  Reader header(bytes);
  const auto type = header.number<std::uint8_t>();
  std::size_t length = header.number<std::uint8_t>();
  length = length << 16U | header.number<std::uint16_t>();
  if (type == Data::kType) {
    if (length == 0 || length > kMaxData) return std::unexpected("a piece of data is empty or too long");
    return Parsed{Data{length}, kHeader};
  }
  if (length > kMaxPayload) return std::unexpected("a message is too long");
  if (bytes.size() < kHeader + length) return std::nullopt;
  Parsed parsed{.message = {}, .size = kHeader + length};
  bool exact = false;
  if (!read_any(parsed.message, type, bytes.subspan(kHeader, length), exact)) {
    return std::unexpected("a message is of an unknown type");
  }
  if (!exact) {
    return std::unexpected(type == Hello::kType ? "it does not begin with a hello of this protocol and version"
                                                : "a message is not what its type says");
  }
  return parsed;
}

void append(std::vector<std::byte>& out, const Message& message) {
  std::visit(
      [&out]<typename One>(const One& one) {
        Writer writer(out, One::kType);
        if constexpr (std::is_same_v<One, Data>) {
          writer.length(one.size);
        } else {
          write(writer, one);
          writer.done();
        }
      },
      message);
}

}  // namespace portolan::transfer
