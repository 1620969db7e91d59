// Schemas from descriptors that are put together here; tests/core/script/protobuf_peer_test.cc has those of protoc.
#include "script/protobuf_descriptor.h"

#include "script/protobuf_wire.h"

#include <cstdio>
#include <initializer_list>
#include <string>

#include "support/cmocka.h"
#include "support/protobuf_schema.h"

using namespace portolan;
using namespace portolan::testing;
using protobuf::WireType;

namespace {

std::string number(std::uint32_t field, std::uint64_t value) {
  protobuf::WireWriter writer;
  writer.tag(field, WireType::varint);
  writer.varint(value);
  return writer.bytes();
}

std::string text(std::uint32_t field, std::string_view value) {
  protobuf::WireWriter writer;
  writer.tag(field, WireType::bytes);
  writer.bytes(value);
  return writer.bytes();
}

// FieldDescriptorProto: name, number, label, type.
std::string field(std::string_view name, std::uint64_t place, std::uint64_t label, std::uint64_t type,
                  const std::string& more = "") {
  return text(2, text(1, name) + number(3, place) + number(4, label) + number(5, type) + more);
}

std::string message(std::string_view name, const std::string& content) { return text(4, text(1, name) + content); }

// A set of one file, a.proto of package p.
std::string set_of(const std::string& content, std::string_view syntax = "proto3") {
  return text(1, text(1, "a.proto") + text(2, "p") + content + text(12, syntax));
}

std::string read(const std::string& bytes) {
  const HeldSchema held = schema_of_descriptors(bytes);
  return held.schema ? describe(*held.schema) : "! " + held.error;
}

void expect(const std::string& bytes, std::string_view expected) {
  const std::string found = read(bytes);
  if (found == expected) return;
  std::fprintf(stderr, "expected: %.*s\nfound:    %s\n", static_cast<int>(expected.size()), expected.data(),
               found.c_str());
  fail();
}

constexpr std::uint64_t kOptional = 1;
constexpr std::uint64_t kRequired = 2;
constexpr std::uint64_t kRepeated = 3;

void a_set_is_read(void**) {
  const std::string entry = text(3, text(1, "CountsEntry") + field("key", 1, kOptional, 9) +
                                        field("value", 2, kOptional, 5) + text(7, number(7, 1)));
  const std::string content =
      message("M", field("a", 1, kOptional, 5) + field("b", 2, kRepeated, 5) +
                       field("c", 3, kOptional, 9, number(9, 0)) +
                       field("d", 4, kOptional, 11, text(6, ".p.M") + number(9, 0)) +
                       field("e", 5, kOptional, 5, number(9, 1) + number(17, 1)) +
                       field("f", 6, kRepeated, 5, text(8, number(2, 0))) +
                       field("counts", 7, kRepeated, 11, text(6, ".p.M.CountsEntry")) +
                       field("g", 8, kOptional, 14, text(6, ".p.E")) + entry + text(8, text(1, "choice")) +
                       text(8, text(1, "_e")) + text(9, number(1, 10) + number(2, 20)) + text(10, "old")) +
      text(5, text(1, "E") + text(2, text(1, "ZERO") + number(2, 0)) + text(2, text(1, "NULL") + number(2, 0)) +
                  text(3, number(2, 1))) +
      text(7, text(1, "mine") + text(2, ".google.protobuf.FieldOptions")) + text(6, text(1, "Service"));
  expect(set_of(content),
         "message p.M\n"
         "  a = 1 implicit int32\n"
         "  b = 2 repeated int32 packed\n"
         "  c = 3 optional string of choice utf8\n"
         "  d = 4 optional message p.M of choice\n"
         "  e = 5 optional int32\n"
         "  f = 6 repeated int32\n"
         "  counts = 7 map message p.M.CountsEntry\n"
         "  g = 8 implicit enum p.E { ZERO=0 NULL=0 }\n"
         "message p.M.CountsEntry entry\n"
         "  key = 1 implicit string utf8\n"
         "  value = 2 implicit int32\n");
  expect(set_of(message("M", field("a", 1, kRequired, 12, text(7, "\\001x"))), "proto2"),
         std::string_view("message p.M requires\n  a = 1 required bytes default 0 '\1x'\n"));
}

void what_does_not_fit_is_refused(void**) {
  struct {
    std::string bytes;
    const char* error;
  } const cases[] = {
      {"", "! the set: no file in it, expected a FileDescriptorSet"},
      {"no descriptor", "! the set: malformed: a wire type that is none"},
      {"\x0a\x05\x0a", "! the set: malformed: a length beyond the end"},
      {set_of("", "editions"), "! a.proto: syntax: found \"editions\", expected proto2 or proto3"},
      {set_of(message("", "")), "! a.proto: a name: expected letters, digits and _"},
      {set_of(message("1a", "")), "! a.proto: a name: expected letters, digits and _"},
      {set_of(message("M", field("a.b", 1, kOptional, 5))), "! a.proto: a name: expected letters, digits and _"},
      {text(1, text(2, "p..q")), "! a name: expected letters, digits and _"},
      {set_of(message("M", field("a", 1, 4, 5))), "! a.proto: a label: is none"},
      {set_of(message("M", field("a", 1, kOptional, 19))), "! a.proto: a type: the number 19 is none"},
      {set_of(message("M", text(2, text(1, "a") + number(3, 1)))), "! a.proto: a: a field without a type"},
      {set_of(message("M", field("a", 0, kOptional, 5))), "! a.proto: p.M.a: the number 0; expected 1 to 536870911"},
      {set_of(message("M", field("a", 1, kOptional, 5) + field("b", 1, kOptional, 5))),
       "! a.proto: p.M.b: the number 1 is that of \"a\" already"},
      {set_of(message("M", field("a", 1, kOptional, 5) + field("a", 2, kOptional, 5))),
       "! a.proto: p.M.a: \"a\" is already defined in \"p.M\""},
      {set_of(message("M", field("a", 1, kOptional, 11, text(6, ".p.N")))),
       "! a.proto: p.M.a: \".p.N\" is not defined"},
      {set_of(message("M", field("a", 1, kOptional, 11))), "! a.proto: p.M.a: without a type that fits"},
      {set_of(message("M", field("a", 1, kOptional, 14, text(6, ".p.M")))),
       "! a.proto: p.M.a: without a type that fits"},
      {set_of(message("M", field("a", 1, kOptional, 5, text(6, ".p.M")))),
       "! a.proto: a: a int32 with the name of a type"},
      {set_of(message("M", field("a", 1, kOptional, 10, text(6, ".p.M")))),
       "! a.proto: p.M.a: a group: expected a nested message"},
      {set_of(message("M", field("a", 1, kRequired, 5))),
       "! a.proto: p.M.a: \"required\" is proto2's: expected none, \"optional\" or \"repeated\""},
      {set_of(message("M", field("a", 1, kOptional, 5, number(9, 3)))),
       "! a.proto: p.M.a: of a oneof that is not there"},
      {set_of(message("M", field("a", 1, kRepeated, 5, number(9, 0)) + text(8, text(1, "o")))),
       "! a.proto: p.M.a: a field of a oneof is neither required nor repeated"},
      {set_of(message("M", text(9, number(1, 5) + number(2, 5)))),
       "! a.proto: a reserved range: ends before it begins"},
      {set_of(message("M", field("a", 5, kOptional, 5) + text(9, number(1, 5) + number(2, 6)))),
       "! a.proto: p.M.a: the number 5 is reserved"},
      {set_of(message("M", text(7, number(1, 1)))), "! a.proto: message_set_wire_format: is not known here"},
      {set_of(message("M", text(7, number(7, 1)))), "! a.proto: p.M: an entry of a map that is not a key and a value"},
      {set_of(message("M", text(7, number(7, 1)) + field("key", 1, kOptional, 1) + field("value", 2, kOptional, 5))),
       "! a.proto: p.M: the key of a map is an integer, a bool or a string"},
      {set_of(message("M", text(7, number(7, 1)) + field("key", 1, kOptional, 5) +
                               field("value", 2, kOptional, 11, text(6, ".p.M")))),
       "! a.proto: p.M: the value of a map is no map"},
      {set_of(text(7, text(1, "x") + text(2, ".p.M"))),
       "! a.proto: an extension: of \".p.M\": extensions are not known here"},
      {set_of(text(5, text(1, "E"))), "! a.proto: p.E: an enum without a value; expected one at least"},
      {set_of(message("M", "\xff")), "! a.proto: a message: malformed: a tag that does not end, or is too large"},
  };
  for (const auto& one : cases) expect(one.bytes, one.error);
  std::string deep;
  for (int depth = 0; depth < 40; ++depth) deep = text(3, text(1, "M") + deep);
  expect(set_of(message("M", deep)), "! a.proto: a message: nested deeper than 32");
  expect(std::string((1U << 20U) + 1, '\0'), "! 1048577 bytes of descriptors; expected 1048576 at most");
}

// A set that is cut anywhere is refused, or is one that ends there.
void a_set_that_is_cut_harms_nothing(void**) {
  const std::string whole = set_of(message("M", field("a", 1, kOptional, 5)));
  for (std::size_t size = 0; size < whole.size(); ++size) assert_true(read(whole.substr(0, size)).starts_with("! "));
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(a_set_is_read), cmocka_unit_test(what_does_not_fit_is_refused),
                              cmocka_unit_test(a_set_that_is_cut_harms_nothing)};
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
