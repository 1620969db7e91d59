// Each message as bytes and back, and what is no message.
#include "transfer/protocol.h"

#include <cstring>
#include <string>

#include "support/cmocka.h"

using namespace portolan::transfer;

namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::byte> bytes_of(const Message& message) {
  std::vector<std::byte> out;
  append(out, message);
  return out;
}

template <typename One>
One back(const One& message) {
  static std::vector<std::byte> bytes;  // views lead into it
  bytes = bytes_of(message);
  const auto parsed = parse(bytes);
  if (!parsed) fail_msg("%s", std::string(parsed.error()).c_str());
  assert_true(parsed->has_value());
  if constexpr (!std::is_same_v<One, Data>) assert_int_equal((*parsed)->size, bytes.size());
  assert_true(std::holds_alternative<One>((*parsed)->message));
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto part = parse(std::span(bytes).first(cut));
    assert_true(part.has_value() && !part->has_value());
  }
  return std::get<One>((*parsed)->message);
}

void every_message_comes_back_as_it_was(void**) {
  TransferId id{};
  id[15] = std::byte{7};
  const auto hello = back(Hello{.transfer = id, .files = 3, .bytes = 1ULL << 40U});
  assert_true(hello.transfer == id && hello.files == 3 && hello.bytes == 1ULL << 40U);
  const auto entry = back(Entry{.id = 70'000,
                                .kind = EntryKind::directory,
                                .mode = 0755,
                                .modified_seconds = -5,
                                .modified_nanoseconds = 999'999'999,
                                .size = 1ULL << 62U,
                                .data = 12,
                                .path = "a/b \xff"});
  assert_true(entry.id == 70'000 && entry.kind == EntryKind::directory && entry.mode == 0755);
  assert_true(entry.modified_seconds == -5 && entry.modified_nanoseconds == 999'999'999);
  assert_true(entry.size == 1ULL << 62U && entry.data == 12 && entry.path == "a/b \xff");
  std::vector<std::byte> digests(64);
  digests[32] = std::byte{1};
  const auto prefix = back(Prefix{.id = 1, .first = 5, .digests = digests});
  assert_true(prefix.first == 5 && prefix.count() == 2 && prefix.at(1)[0] == std::byte{1});
  const auto begin = back(Begin{.id = 2, .offset = 1ULL << 33U});
  assert_true(begin.id == 2 && begin.offset == 1ULL << 33U);
  assert_int_equal(back(Hole{77}).size, 77);
  Digest digest{};
  digest[0] = std::byte{9};
  assert_true(back(End{digest}).digest == digest);
  back(Finish{7});
  back(Ping{});
  back(Bye{});
  back(Welcome{});
  assert_true(back(Abandon{.id = 3, .why = "it has changed"}).why == "it has changed");
  assert_true(back(Refused{"no room"}).why == "no room");
  assert_int_equal(back(Have{.id = 4, .length = 5}).length, 5);
  assert_int_equal(back(SendFrom{.id = 4, .offset = 6}).offset, 6);
  const auto result = back(Result{.id = 9, .outcome = Outcome::busy, .text = "later"});
  assert_true(result.outcome == Outcome::busy && result.text == "later");
  const auto progress = back(Progress{.bytes = 10, .activity = Activity::asking});
  assert_true(progress.bytes == 10 && progress.activity == Activity::asking);
  assert_int_equal(back(Data{kMaxData}).size, kMaxData);
}

// The bytes themselves, as PROTOCOL.md has them.
void bytes_are_those_of_the_specification(void**) {
  assert_true(text_of(bytes_of(Begin{.id = 1, .offset = 0x0203})) ==
              std::string("\4\0\0\14\0\0\0\1\0\0\0\0\0\0\2\3", 16));
  assert_true(text_of(bytes_of(Data{65536})) == std::string("\5\1\0\0", 4));
  const std::string hello = text_of(bytes_of(Hello{.files = 1, .bytes = 2}));
  assert_true(hello.starts_with(std::string("\1\0\0\45PTFT\1", 9)) && hello.size() == 41);
  assert_true(text_of(bytes_of(Result{.id = 1, .outcome = Outcome::refused, .text = "no"})) ==
              std::string("\104\0\0\7\0\0\0\1\3no", 11));
}

void what_is_no_message_is_refused(void**) {
  const std::pair<std::string, const char*> cases[] = {
      {std::string("\0\0\0\0", 4), "unknown type"},
      {std::string("\13\0\0\0", 4), "unknown type"},
      {std::string("\5\0\0\0", 4), "empty or too long"},
      {std::string("\5\1\0\1", 4), "empty or too long"},
      {std::string("\2\0\40\1", 4), "too long"},
      {std::string("\10\0\0\1x", 5), "not what its type says"},
      {std::string("\4\0\0\13", 4) + std::string(11, 'x'), "not what its type says"},
      {std::string("\3\0\0\14", 4) + std::string(12, 'x'), "not what its type says"},           // no digest
      {std::string("\3\0\0\15", 4) + std::string(13, 'x'), "not what its type says"},           // a part of one
      {std::string("\104\0\0\5", 4) + std::string("\0\0\0\0\6", 5), "not what its type says"},  // no such outcome
      {std::string("\1\0\0\45", 4) + "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "hello of this protocol"},
      {std::string("\1\0\0\45", 4) + "PTFT\2" + std::string(32, '\0'), "hello of this protocol"},
  };
  for (const auto& [bytes, said] : cases) {
    const auto parsed = parse(std::as_bytes(std::span(bytes)));
    if (parsed) fail_msg("taken: %s", said);
    if (parsed.error().find(said) == std::string_view::npos) fail_msg("%s", std::string(parsed.error()).c_str());
  }
  Entry entry{.size = 5, .data = 6, .path = "more data than bytes"};
  assert_false(parse(bytes_of(entry)).has_value());
  entry = {.modified_nanoseconds = 1'000'000'000, .path = "no such time"};
  assert_false(parse(bytes_of(entry)).has_value());
  entry = {.size = 1ULL << 63U, .path = "no such size"};
  assert_false(parse(bytes_of(entry)).has_value());
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(every_message_comes_back_as_it_was),
      cmocka_unit_test(bytes_are_those_of_the_specification),
      cmocka_unit_test(what_is_no_message_is_refused),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
