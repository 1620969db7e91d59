// The transfer protocol, version 1: what a sender and a receiver of files say to each other, on one ordered stream.
//
// The stream is whatever carries bytes in order: a stream of rudp, TCP, TLS, a unix socket. Each message is
// [type u8][length u24][payload]; numbers are big-endian. plugins/drop_box/PROTOCOL.md says what follows what, and why.
//
// Pure functions, any thread. Views lead into the bytes that were parsed. Refused: an unknown type or version, a length over
// kMaxPayload (kMaxData for data), a payload that is shorter or longer than its message.
#pragma once

#include "transfer/file_hash.h"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace portolan::transfer {

inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::size_t kHeader = 4;
inline constexpr std::size_t kMaxPayload = 8 * 1024;
inline constexpr std::size_t kMaxData = 64 * 1024;
// Digests of a prefix are told for every so many bytes.
inline constexpr std::uint64_t kCheckEvery = 1024 * 1024;
inline constexpr std::size_t kMaxDigests = 32;  // in one message
// Entries without a result that a sender may have under way: what a receiver has to remember of it.
inline constexpr std::size_t kMaxOpen = 1024;

using TransferId = std::array<std::byte, 16>;

// ---- What a sender says ----

struct Hello {
  static constexpr std::uint8_t kType = 1;
  TransferId transfer{};    // random; the same when it comes back after a lost connection
  std::uint64_t files = 0;  // that are still to be sent
  std::uint64_t bytes = 0;  // of all of them, without holes
};

enum class EntryKind : std::uint8_t { file, directory };
struct Entry {
  static constexpr std::uint8_t kType = 2;
  std::uint32_t id = 0;  // ascends; the other messages name a file by it
  EntryKind kind = EntryKind::file;
  std::uint16_t mode = 0;  // & 0777
  std::int64_t modified_seconds = 0;
  std::uint32_t modified_nanoseconds = 0;
  std::uint64_t size = 0;
  std::uint64_t data = 0;  // bytes of it that are no hole
  std::string_view path = {};
};

// SHA-256 of what the file begins with: up to (first + 1) * kCheckEvery bytes, and so on; the last up to what was asked for.
struct Prefix {
  static constexpr std::uint8_t kType = 3;
  std::uint32_t id = 0;
  std::uint64_t first = 0;
  std::span<const std::byte> digests = {};
  std::size_t count() const noexcept { return digests.size() / sizeof(Digest); }
  Digest at(std::size_t index) const noexcept;
};

// Data and holes that follow are this file's, from `offset` on.
struct Begin {
  static constexpr std::uint8_t kType = 4;
  std::uint32_t id = 0;
  std::uint64_t offset = 0;
};
// Its payload follows, and may be taken as it comes.
struct Data {
  static constexpr std::uint8_t kType = 5;
  std::size_t size = 0;
};
struct Hole {
  static constexpr std::uint8_t kType = 6;
  std::uint64_t size = 0;
};
struct End {
  static constexpr std::uint8_t kType = 7;
  Digest digest{};  // of the whole file
};
// Nothing follows unless the receiver asks for it. Said again when that has changed.
struct Finish {
  static constexpr std::uint8_t kType = 8;
  // "Have" and results "busy" that the sender has had: to each of them it may answer with another entry.
  std::uint32_t asked = 0;
};
struct Ping {
  static constexpr std::uint8_t kType = 9;
};
// The file cannot be sent to its end. What came of it is kept.
struct Abandon {
  static constexpr std::uint8_t kType = 10;
  std::uint32_t id = 0;
  std::string_view why = {};
};

// ---- What a receiver says ----

struct Welcome {
  static constexpr std::uint8_t kType = 64;
};
// The whole transfer is refused; the stream ends.
struct Refused {
  static constexpr std::uint8_t kType = 65;
  std::string_view why = {};
};
// There are `length` bytes that may be of this file: tell the digests, to show whether they are.
struct Have {
  static constexpr std::uint8_t kType = 66;
  std::uint32_t id = 0;
  std::uint64_t length = 0;
};
struct SendFrom {
  static constexpr std::uint8_t kType = 67;
  std::uint32_t id = 0;
  std::uint64_t offset = 0;
};
enum class Outcome : std::uint8_t {
  received,   // it is whole, verified and on the disk; `text` is its name if it had to be another
  identical,  // it was there already
  skipped,    // another of this name is there and stays
  refused,
  failed,
  busy,  // another transfer is at it: to be offered again in a moment
};
inline constexpr std::size_t kOutcomes = 6;
std::string_view to_string(Outcome outcome) noexcept;
struct Result {
  static constexpr std::uint8_t kType = 68;
  std::uint32_t id = 0;
  Outcome outcome = Outcome::received;
  std::string_view text = {};
};
enum class Activity : std::uint8_t { receiving, checking, syncing, asking };
std::string_view to_string(Activity activity) noexcept;
// At least once a second.
struct Progress {
  static constexpr std::uint8_t kType = 69;
  std::uint64_t bytes = 0;  // of data, written since the hello
  Activity activity = Activity::receiving;
};
// The answer to Finish, once every entry has its result: all is done.
struct Bye {
  static constexpr std::uint8_t kType = 70;
};

// ---- Bytes ----

using Message = std::variant<Hello, Entry, Prefix, Begin, Data, Hole, End, Finish, Ping, Abandon, Welcome, Refused,
                             Have, SendFrom, Result, Progress, Bye>;

struct Parsed {
  Message message;
  std::size_t size = 0;  // bytes of it; of Data the header alone
};
// Nothing: it is not all here yet. The error is a sentence.
std::expected<std::optional<Parsed>, std::string_view> parse(std::span<const std::byte> bytes) noexcept;

// Texts are cut to what a message holds. Throws std::bad_alloc alone.
void append(std::vector<std::byte>& out, const Message& message);

}  // namespace portolan::transfer
