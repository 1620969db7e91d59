// What .proto files say, and what they must not.
#include "script/protobuf_parser.h"

#include <bit>
#include <cstdio>
#include <string>

#include "support/cmocka.h"
#include "support/protobuf_schema.h"

using namespace portolan;
using namespace portolan::testing;

namespace {

void expect_text(std::string_view found, std::string_view expected) {
  if (found == expected) return;
  std::fprintf(stderr, "expected: %.*s\nfound:    %.*s\n", static_cast<int>(expected.size()), expected.data(),
               static_cast<int>(found.size()), found.data());
  fail();
}

// What the schema says; or the error.
std::string read(std::string_view text, const std::vector<protobuf::SourceFile>& imports = {}) {
  const HeldSchema held = schema_of(text, imports);
  return held.schema ? describe(*held.schema) : "! " + held.error;
}

void everything_of_proto3_is_read(void**) {
  expect_text(read(R"(// a comment
    syntax = 'proto3'; /* another
    // */
    package a.b;
    option java_package = "x" "y";
    option (my.option).sub = { key: "}" other { list: [1, 2] } };
    option optimize_for = SPEED;
    service Finder { rpc Find(Query) returns (stream Query) { option deprecated = true; } }
    extend google.protobuf.FieldOptions { string mine = 50000; }
    enum State { option allow_alias = true; IDLE = 0; BUSY = 0x1 [deprecated = true]; WORKING = 1; reserved 5 to 7, 017, -3, 100 to max; reserved "OLD"; GONE = -1; };
    message Query {
      message Part { string text = 1; }
      optional int32 page = 2;
      double d = 3; float f = 4; int64 i64 = 5; uint32 u32 = 6; uint64 u64 = 7; sint32 s32 = 8; sint64 s64 = 9;
      fixed32 f32 = 10; fixed64 f64 = 11; sfixed32 sf32 = 12; sfixed64 sf64 = 13; bool b = 14; bytes bs = 15;
      repeated Part parts = 16 [(my.option) = 1.5e3, json_name = "P"];
      repeated sint32 numbers = 17; repeated sint32 loose = 18 [packed = false];
      map<string, Part> parts_by_name = 19;
      map < int32 , State > states = 20;
      oneof choice { option (x) = -inf; string left = 21; Part right = 22; }
      State state = 23;
      reserved 30, 40 to 50, 500 to max; reserved "old", 'older';
      extensions 60 to 70 [verification = UNVERIFIED];
      option (message_option) = "x";
      ;
    }
  )"),
              R"(message a.b.Query
  page = 2 optional int32
  d = 3 implicit double
  f = 4 implicit float
  i64 = 5 implicit int64
  u32 = 6 implicit uint32
  u64 = 7 implicit uint64
  s32 = 8 implicit sint32
  s64 = 9 implicit sint64
  f32 = 10 implicit fixed32
  f64 = 11 implicit fixed64
  sf32 = 12 implicit sfixed32
  sf64 = 13 implicit sfixed64
  b = 14 implicit bool
  bs = 15 implicit bytes
  parts = 16 repeated message a.b.Query.Part
  numbers = 17 repeated sint32 packed
  loose = 18 repeated sint32
  parts_by_name = 19 map message a.b.Query.PartsByNameEntry
  states = 20 map message a.b.Query.StatesEntry
  left = 21 optional string of choice utf8
  right = 22 optional message a.b.Query.Part of choice
  state = 23 implicit enum a.b.State { GONE=-1 IDLE=0 BUSY=1 WORKING=1 }
message a.b.Query.Part
  text = 1 implicit string utf8
message a.b.Query.PartsByNameEntry entry
  key = 1 implicit string utf8
  value = 2 optional message a.b.Query.Part
message a.b.Query.StatesEntry entry
  key = 1 implicit int32
  value = 2 implicit enum a.b.State { GONE=-1 IDLE=0 BUSY=1 WORKING=1 }
)");
}

void everything_of_proto2_is_read(void**) {
  expect_text(read(R"(
    message M {
      required int32 r = 1; optional string s = 2 [default = "a\n\x41\101\u00e9" 'b']; repeated int32 l = 3;
      repeated int32 p = 4 [packed = true];
      optional double d = 5 [default = -inf]; optional float f = 6 [default = 1.5]; optional bool b = 7 [default = true];
      optional E e = 8 [default = SECOND]; optional E e_without = 9; optional uint64 u = 10 [default = 0xFFFFFFFFFFFFFFFF];
      optional int64 i = 11 [default = -9223372036854775808]; optional bytes y = 12 [default = "\377"];
      oneof o { int32 x = 13; }
      map<bool, M> maps = 14;
    }
    message Holder { optional M m = 1; }
    message Far { optional Holder h = 1; }
    message Free { optional int32 x = 1; }
    enum E { FIRST = 7; SECOND = 8; }
  )"),
              "message Far requires\n"
              "  h = 1 optional message Holder\n"
              "message Free\n"
              "  x = 1 optional int32\n"
              "message Holder requires\n"
              "  m = 1 optional message M\n"
              "message M requires\n"
              "  r = 1 required int32\n"
              "  s = 2 optional string default 0 'a\nAA\xc3\xa9"
              "b'\n"
              "  l = 3 repeated int32\n"
              "  p = 4 repeated int32 packed\n"
              "  d = 5 optional double default fff0000000000000 ''\n"
              "  f = 6 optional float default 3ff8000000000000 ''\n"
              "  b = 7 optional bool default 1 ''\n"
              "  e = 8 optional enum E { FIRST=7 SECOND=8 } default 8 ''\n"
              "  e_without = 9 optional enum E { FIRST=7 SECOND=8 }\n"
              "  u = 10 optional uint64 default ffffffffffffffff ''\n"
              "  i = 11 optional int64 default 8000000000000000 ''\n"
              "  y = 12 optional bytes default 0 '\xff'\n"
              "  x = 13 optional int32 of o\n"
              "  maps = 14 map message M.MapsEntry\n"
              "message M.MapsEntry entry requires\n"
              "  key = 1 optional bool\n"
              "  value = 2 optional message M\n");
}

// As protoc does: the innermost scope in which the first part of a name is a type or a package.
void names_are_resolved_from_the_inside_out(void**) {
  const std::string text = read(R"(
    syntax = "proto3"; package x.y;
    message A { int32 n = 1; }
    message B {
      message A { int32 inner = 1; }
      message C { A nearest = 1; .x.y.A outermost = 2; y.A by_package = 3; B.A by_parent = 4; x . y . A with_blanks = 5; }
      A b = 1;
    }
    message D { A A = 1; A again = 2; }
  )");
  for (const char* line : {"nearest = 1 optional message x.y.B.A\n", "outermost = 2 optional message x.y.A\n",
                           "by_package = 3 optional message x.y.A\n", "by_parent = 4 optional message x.y.B.A\n",
                           "with_blanks = 5 optional message x.y.A\n", "  b = 1 optional message x.y.B.A\n",
                           "  A = 1 optional message x.y.A\n", "again = 2 optional message x.y.A\n"}) {
    if (text.find(line) == std::string::npos) fail_msg("%s is not in\n%s", line, text.c_str());
  }
  expect_text(
      read("syntax = \"proto3\"; package x.y;\nmessage A { message x { } x.y.B b = 1; }\nmessage B { }"),
      "! 2:27: \"x.y.B\" is not defined: \"x\" is x.y.A.x here, which has no y.B (a dot in front begins outermost)");
}

void imports_are_read(void**) {
  const char* main =
      R"(syntax = "proto3"; package main; import "one.proto"; import public "dir/two.proto"; import weak "one.proto";
    message M { one.A a = 1; two.B b = 2; })";
  const std::vector<protobuf::SourceFile> files = {
      {"one.proto", "syntax = \"proto3\"; package one; import \"dir/two.proto\"; message A { two.B b = 1; }"},
      {"dir/two.proto", "package two; message B { optional int32 x = 1; }"},
      {"not_asked_for.proto", "nonsense"}};
  expect_text(read(main, files),
              "message main.M\n  a = 1 optional message one.A\n  b = 2 optional message two.B\n"
              "message one.A\n  b = 1 optional message two.B\nmessage two.B\n  x = 1 optional int32\n");
  expect_text(read(main, {files[0]}),
              "! one.proto:1:40: import \"dir/two.proto\", expected its text among the imports");
  expect_text(read(main), "! 1:41: import \"one.proto\", expected its text among the imports");
  expect_text(read(main, {files[0], {"dir/two.proto", "import \"one.proto\";"}}),
              "! dir/two.proto:1:8: \"one.proto\" imports itself in the end");
  expect_text(
      read(main, {files[0], {"dir/two.proto", "\n message B { int32 x = 1; }"}}),
      "! dir/two.proto:2:14: found \"int32\", expected \"optional\", \"required\" or \"repeated\" in front of it: this "
      "is proto2, as no syntax says otherwise");
}

struct Case {
  const char* text;
  const char* error;
};

void expect_errors(std::span<const Case> cases, const std::string& before = "", const std::string& after = "") {
  for (const Case& one : cases) {
    const std::string found = read(before + one.text + after);
    if (found == std::string("! ") + one.error) continue;
    std::fprintf(stderr, "%s%s%s\nexpected: ! %s\nfound:    %s\n", before.c_str(), one.text, after.c_str(), one.error,
                 found.c_str());
    fail();
  }
}

void what_is_no_word_is_refused(void**) {
  const Case cases[] = {
      {"/* a", "1:1: a comment that does not end; expected */"},
      {"option a = \"x", "1:12: a text that does not end"},
      {"option a = \"x\n\";", "1:12: a text that does not end on its line"},
      {"option a = \"x\\", "1:12: a text that does not end"},
      {"\n\n  \x01", "3:3: the byte 0x01; expected a name, a number, a text or a sign"},
      {"message \xc3\xa9 {}", "1:9: the byte 0xc3; expected a name, a number, a text or a sign"},
      {"option a = 0x;", "1:14: 0x without digits"},
      {"option a = 1e;", "1:14: an exponent without digits"},
      {"option a = 12abc;", "1:14: a number that goes on; expected a blank behind it"},
      {"option a = 1.2.3;", "1:15: a number that goes on; expected a blank behind it"},
      {"import \"\\q\";", "1:8: an escape that is none; expected \\n, \\t, \\x41, \\101, …"},
      {"import \"\\x\";", "1:8: an escape with too few digits; expected 1"},
      {"import \"\\u12\";", "1:8: an escape with too few digits; expected 4"},
      {"import \"\\ud800\";", "1:8: \\u of d800, which is no character"},
  };
  expect_errors(cases);
  expect_text(read("message " + std::string(513, 'a') + " {}"), "! 1:9: a name longer than 512 bytes");
}

void what_is_no_statement_is_refused(void**) {
  const Case cases[] = {
      {"syntax = \"proto4\";", "1:10: found \"proto4\", expected \"proto2\" or \"proto3\""},
      {"syntax \"proto3\";", "1:8: found the text \"proto3\", expected \"=\""},
      {"edition = \"2023\";",
       "1:1: found \"edition\", expected syntax = \"proto2\" or \"proto3\": editions are not known here"},
      {"massage A {}", "1:1: found \"massage\", expected message, enum, import, package, option or service"},
      {"message {", "1:9: found \"{\", expected the name of a message"},
      {"message A", "1:10: found the end, expected \"{\""},
      {"message A {\n", "1:11: a { without its }"},
      {"message A { } }", "1:15: found \"}\", expected message, enum, import, package, option or service"},
      {"package a; package b;", "1:12: a second package"},
      {"package a.;", "1:11: found \";\", expected a name behind the dot"},
      {"import a;", "1:8: found \"a\", expected the name of a file in quotation marks"},
      {"import \"a\"", "1:11: found the end, expected \";\""},
      {"service S { rpc A(B) returns (C) {}", "1:11: a { without its }"},
      {"option (a = 1;", "1:11: found \"=\", expected \")\""},
      {"option a = ;", "1:12: found \";\", expected a value: a name, a number, a text or { … }"},
      {"option a = { b { };", "1:12: a { without its }"},
      {"extend Foo { optional int32 a = 1; }",
       "1:1: an extension of \"Foo\": extensions are not known here, expected a field"},
      {"message A { extend .a.Options { } }",
       "1:13: an extension of \"a.Options\": extensions are not known here, expected a field"},
      {"message A { option message_set_wire_format = true; }", "1:20: \"message_set_wire_format\" is not known here"},
      {"message A { oneof x { } }", "1:19: a oneof without a field, expected one at least"},
      {"message A { oneof x { optional int32 a = 1; } }",
       "1:23: found \"optional\", expected a type: the fields of a oneof have no label"},
      {"message A { oneof x { map<int32, int32> a = 1; } }", "1:23: a map in a oneof, expected a type"},
      {"enum E { }", "1:6: an enum without a value; expected one at least"},
      {"enum E { A = x; }", "1:14: found \"x\", expected a number"},
      {"enum E { A = 2147483648; }", "1:14: found 2147483648, expected a number, at most 2147483647"},
      {"enum E { A = 1; B = 1; }",
       "1:17: 1 is \"A\" already: expected another number, or \"option allow_alias = true;\" in the enum"},
      {"enum E { option allow_alias = 1; A = 1; }", "1:17: \"allow_alias\" of something else, expected true or false"},
      {"enum E { A = 1; reserved 1; }", "1:10: 1 is reserved"},
      {"enum E { A = 1; reserved -5 to 5; }", "1:10: 1 is reserved"},
      {"enum E { A = 1; reserved \"A\"; }", "1:10: the name \"A\" is reserved"},
      {"enum E { A = 1; reserved 2 to 4, 3; }", "1:6: 3 is reserved twice"},
  };
  expect_errors(cases);
}

void fields_are_checked(void**) {
  const Case proto3[] = {
      {"int32 a = 0;", "1:40: the number 0; expected 1 to 536870911"},
      {"int32 a = 536870912;", "1:44: found 536870912, expected the number of a field, at most 536870911"},
      {"int32 a = 99999999999999999999;",
       "1:44: found 99999999999999999999, expected the number of a field, at most 536870911"},
      {"int32 a = -1;", "1:44: found \"-\", expected the number of a field"},
      {"int32 a = 19000;", "1:40: the number 19000: 19000 to 19999 are protobuf's own"},
      {"int32 a = 19999;", "1:40: the number 19999: 19000 to 19999 are protobuf's own"},
      {"int32 a = 1; int32 b = 1;", "1:53: the number 1 is that of \"a\" already"},
      {"int32 a = 1; string a = 2;", "1:54: \"a\" is already defined in \"A\""},
      {"int32 a = 1; oneof a { int32 b = 2; }", "1:53: \"a\" is already defined in \"A\""},
      {"int32 a = 5; reserved 4 to 6;", "1:40: the number 5 is reserved"},
      {"int32 a = 5; extensions 4 to max;", "1:40: the number 5 is reserved"},
      {"int32 a = 5; reserved \"b\", \"a\";", "1:40: the name \"a\" is reserved"},
      {"reserved 5 to 4;", "1:43: a range that ends before it begins"},
      {"int32 a = 1", "1:45: found \"}\", expected \";\" behind the field"},
      {"int32 = 1;", "1:40: found \"=\", expected the name of a field"},
      {"42;", "1:34: found \"42\", expected a field, or another part of a message"},
      {"B b = 1;", "1:34: \"B\" is not defined"},
      {".A.B b = 1;", "1:34: \".A.B\" is not defined"},
      {"A.B b = 1;", "1:34: \"A.B\" is not defined: \"A\" is A here, which has no B (a dot in front begins outermost)"},
      {"required int32 a = 1;",
       "1:34: found \"required\", expected a type, \"optional\" or \"repeated\": this is proto3"},
      {"int32 a = 1 [default = 5];", "1:40: a default is proto2's: in proto3 it is zero or empty"},
      {"string a = 1 [packed = true];", "1:41: \"packed\" is of repeated numbers, bools and enums"},
      {"repeated string a = 1 [packed = false];", "1:50: \"packed\" is of repeated numbers, bools and enums"},
      {"repeated int32 a = 1 [packed = 1];", "1:56: \"packed\" of something else, expected true or false"},
      {"map<double, int32> a = 1;", "1:38: the key of a map is an integer, a bool or a string"},
      {"map<bytes, int32> a = 1;", "1:38: the key of a map is an integer, a bool or a string"},
      {"map<A, int32> a = 1;", "1:38: the key of a map is an integer, a bool or a string"},
      {"map<int32, map<int32, int32>> a = 1;", "1:45: found \"map\", expected the type of a value, which is no map"},
      {"repeated map<int32, int32> a = 1;", "1:43: a map with a label, expected none in front of it"},
      {"map<int32> a = 1;", "1:43: found \">\", expected \",\""},
      {"map<int32, int32> a = 1; message AEntry { }", "1:67: \"AEntry\" is already defined in \"A\""},
      {"enum E { X = 1; }", "1:43: the first value of an enum of proto3 is 0"},
      {"enum E { X = 0; } enum F { X = 0; }",
       "1:61: \"X\" is already defined in \"A\" (the values of an enum stand beside it, not in it)"},
      {"message A { } message A { }", "1:56: \"A\" is already defined in \"A\""},
  };
  expect_errors(proto3, "syntax = \"proto3\"; message A {   ", "}");
  const Case proto2[] = {
      {"optional group G = 1 { }",
       "1:22: found \"group\", expected a type: groups are not known here, use a nested message"},
      {"oneof o { group G = 1 { } }",
       "1:23: found \"group\", expected a type: groups are not known here, use a nested message"},
      {"optional int32 a = 1 [default = 1, default = 2];", "1:48: a second default"},
      {"optional int32 a = 1 [default = {}];", "1:35: a default of { … }, expected a name, a number or a text"},
      {"optional int32 a = 1 [default = \"1\"];",
       "1:28: the default \"1\"; expected a value of int32, without quotation marks"},
      {"optional int32 a = 1 [default = 2147483648];",
       "1:28: the default \"2147483648\"; expected an integer that fits int32"},
      {"optional int32 a = 1 [default = 1.5];", "1:28: the default \"1.5\"; expected an integer that fits int32"},
      {"optional uint32 a = 1 [default = -1];", "1:29: the default \"-1\"; expected an integer that fits uint32"},
      {"optional string a = 1 [default = 1];", "1:29: the default \"1\"; expected a text in quotation marks"},
      {"optional string a = 1 [default = \"\\xff\"];", "1:29: the default \"\xff\"; expected UTF-8"},
      {"optional bool a = 1 [default = yes];", "1:27: the default \"yes\"; expected true or false"},
      {"optional float a = 1 [default = x];", "1:28: the default \"x\"; expected a number that fits float"},
      {"optional float a = 1 [default = 1e300];", "1:28: the default \"1e300\"; expected a number that fits float"},
      {"optional A a = 1 [default = x];", "1:24: a list or a message has no default"},
      {"repeated int32 a = 1 [default = 1];", "1:28: a list or a message has no default"},
      {"enum E { X = 1; } optional E a = 1 [default = Y];", "1:42: the default \"Y\" is no value of A.E"},
  };
  expect_errors(proto2, "message A { ", "}");
  expect_text(read("syntax = \"proto3\"; import \"two\"; message A {\n E e = 1; }", {{"two", "enum E { X = 0; }"}}),
              "! 2:2: \"E\" is an enum of proto2, and this is proto3");
  expect_text(read("package a; import \"two\";", {{"two", "message a { }"}}), "! two:1:9: \"a\" is already defined");
}

void there_are_limits(void**) {
  std::string deep = "syntax = \"proto3\";";
  for (int depth = 0; depth < 33; ++depth) deep += " message A {";
  expect_text(read(deep), "! 1:404: messages nested deeper than 32");
  std::string fits = "syntax = \"proto3\";";
  for (int depth = 0; depth < 32; ++depth) fits += " message A {";
  assert_true(read(fits + std::string(32, '}')).starts_with("message A\n"));
  std::string wide = "enum E { option allow_alias = true;";
  for (int index = 0; index <= 65'536; ++index) wide += " V" + std::to_string(index) + "=1;";
  expect_text(read(wide + "}"), "! 1:644287: more than 65536 fields and values");
  std::string many;
  for (int index = 0; index <= 16'384; ++index) many += "message M" + std::to_string(index) + "{}";
  expect_text(read(many), "! 1:251035: more than 16384 messages and enums");
  expect_text(read("package " + std::string(500, 'p') + "; message " + std::string(20, 'm') + " { }"),
              "! 1:519: a full name longer than 512 bytes");
  expect_text(read(std::string((1U << 20U) + 1, ' ')), "! 1048577 bytes of files; expected 1048576 at most");
  // A file that imports the next, without end.
  std::vector<std::string> texts;
  for (int index = 0; index < 300; ++index) texts.push_back("import \"" + std::to_string(index + 1) + "\";");
  std::vector<protobuf::SourceFile> files;
  std::vector<std::string> names;
  for (int index = 0; index < 300; ++index) names.push_back(std::to_string(index));
  for (std::size_t index = 0; index < 300; ++index) files.push_back({names[index], texts[index]});
  expect_text(read("import \"0\";", files), "! 255:1:1: more than 256 files");
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(everything_of_proto3_is_read),
      cmocka_unit_test(everything_of_proto2_is_read),
      cmocka_unit_test(names_are_resolved_from_the_inside_out),
      cmocka_unit_test(imports_are_read),
      cmocka_unit_test(what_is_no_word_is_refused),
      cmocka_unit_test(what_is_no_statement_is_refused),
      cmocka_unit_test(fields_are_checked),
      cmocka_unit_test(there_are_limits),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
