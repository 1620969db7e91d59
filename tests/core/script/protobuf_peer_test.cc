// The same schemas and messages as protoc's: descriptors that it writes say what the .proto file says, it reads what is
// encoded here, and what it encodes is read here.
#include "script/sandbox.h"

#include <lua.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "support/child_process.h"
#include "support/daemon.h"
#include "support/protobuf_schema.h"
#include "support/temporary_folder.h"

#include "support/cmocka.h"  // last: it defines fail()

using namespace portolan;
using namespace portolan::testing;

namespace {

constexpr std::string_view kProto3 = R"(syntax = "proto3";
package peer.three;
import "sub/two.proto";
import public "google/protobuf/timestamp.proto";
option java_package = "x";
message All {
  double d = 1; float f = 2; int32 i32 = 3; int64 i64 = 4; uint32 u32 = 5; uint64 u64 = 6; sint32 s32 = 7; sint64 s64 = 8;
  fixed32 f32 = 9; fixed64 f64 = 10; sfixed32 sf32 = 11; sfixed64 sf64 = 12; bool b = 13; string s = 14; bytes y = 15;
  Kind kind = 16;
  All nested = 17;
  repeated int32 packed = 18;
  repeated int32 loose = 19 [packed = false];
  repeated string texts = 20;
  repeated All.Part parts = 21;
  map<string, int32> counts = 22;
  map<sint64, Part> by_number = 23;
  map<bool, Kind> flags = 24;
  oneof choice { string left = 25; Part right = 26; }
  optional int32 maybe = 27;
  peer.two.Old old = 28;
  google.protobuf.Timestamp at = 29;
  message Part { string name = 1; .peer.three.All.Part part = 2; }
  enum Kind { option allow_alias = true; NONE = 0; SOME = 1; FEW = 1; NEGATIVE = -1; }
  reserved 100 to 110, 200;
  reserved "gone";
}
)";
constexpr std::string_view kProto2 = R"(package peer.two;
message Old {
  required int32 id = 1;
  optional string name = 2 [default = "a\n\"\303\251"];
  optional bytes raw = 3 [default = "\000\377x"];
  optional float ratio = 4 [default = -1.5e3];
  optional double huge = 5 [default = inf];
  optional Colour colour = 6 [default = GREEN];
  optional uint64 big = 7 [default = 0xFFFFFFFFFFFFFFFF];
  optional sint32 small = 8 [default = -0x80000000];
  optional bool yes = 9 [default = true];
  repeated fixed64 list = 10 [packed = true];
  repeated Colour colours = 11;
  map<string, bytes> things = 12;
  enum Colour { RED = 5; GREEN = 6; }
  extensions 1000 to max;
}
)";
constexpr std::string_view kTimestamp = R"(syntax = "proto3"; package google.protobuf;
message Timestamp { int64 seconds = 1; int32 nanos = 2; })";

struct Peer {
  TemporaryFolder folder;
  Peer() {
    run_to_end({"mkdir", "-p", folder.file("sub"), folder.file("google/protobuf")});
    folder.write("three.proto", kProto3);
    folder.write("sub/two.proto", kProto2);
    folder.write("google/protobuf/timestamp.proto", kTimestamp);
  }
  // What protoc writes of this input.
  std::string protoc(const std::string& option, const std::string& input) {
    const int file = ::open(folder.write("input", input).c_str(), O_RDONLY | O_CLOEXEC);
    const CommandResult result =
        run_to_end({"protoc", "--proto_path=" + folder.path(), option, "three.proto"}, {.standard_input = file});
    ::close(file);
    if (result.code != 0) fail_msg("protoc %s: %s", option.c_str(), result.errors.c_str());
    return result.output;
  }
};

Peer& peer_of(void** state) { return *static_cast<Peer*>(*state); }

int make_peer(void** state) {
  *state = new Peer;
  return 0;
}
int end_peer(void** state) {
  delete &peer_of(state);
  return 0;
}

void need_protoc() {
  if (run_to_end({"sh", "-c", "command -v protoc"}).code == 0) return;
  if (!emulator_command().empty()) skip();
  fail_msg("protoc is missing: install what [test-peers] in packages.txt lists (./dev test does)");
}

// The bytes that the script answers, with the schema as `schema`, and `input`.
std::string run(const std::string& source, const std::string& input = "") {
  Sandbox sandbox({.memory = std::size_t{16} << 20U, .memory_hint = {}, .instructions_hint = {}});
  lua_State* state = sandbox.state();
  const auto set = [&](const char* name, std::string_view text) {
    lua_pushlstring(state, text.data(), text.size());
    lua_setglobal(state, name);
  };
  set("three", kProto3);
  set("two", kProto2);
  set("timestamp", kTimestamp);
  set("input", input);
  const std::string before =
      "local schema = portolan.protobuf.load(three, { imports = { ['sub/two.proto'] = two, "
      "['google/protobuf/timestamp.proto'] = timestamp } })\n";
  if (auto result = sandbox.run("c.lua", before + source, 10'000'000); !result) fail_msg("%s", result.error().c_str());
  std::size_t length = 0;
  const char* text = luaL_tolstring(state, -1, &length);
  return {text, length};
}

void the_descriptors_of_protoc_say_what_the_files_say(void** state) {
  need_protoc();
  Peer& peer = peer_of(state);
  const HeldSchema text =
      schema_of(kProto3, {{"sub/two.proto", kProto2}, {"google/protobuf/timestamp.proto", kTimestamp}});
  if (!text.schema) fail_msg("%s", text.error.c_str());
  const std::string out = peer.folder.file("set");
  const CommandResult result = run_to_end({"protoc", "--proto_path=" + peer.folder.path(), "--include_imports",
                                           "--descriptor_set_out=" + out, "three.proto"});
  if (result.code != 0) fail_msg("protoc: %s", result.errors.c_str());
  const std::string bytes = read_whole_file(out);
  const HeldSchema descriptors = schema_of_descriptors(bytes);
  if (!descriptors.schema) fail_msg("%s", descriptors.error.c_str());
  assert_string_equal(describe(*text.schema).c_str(), describe(*descriptors.schema).c_str());
  assert_true(descriptors.schema->messages().size() == 8);
}

constexpr std::string_view kValue = R"(
  d = 1.5, f = -0.25, i32 = -2147483648, i64 = math.mininteger, u32 = 4294967295, u64 = -1, s32 = -5, s64 = math.maxinteger,
  f32 = 7, f64 = -2, sf32 = -7, sf64 = -8, b = true, s = "h\u{e9}llo", y = "\0\xff", kind = "NEGATIVE",
  nested = { nested = { i32 = 5 } }, packed = { 1, -1, 0 }, loose = { 300, 0 }, texts = { "", "x" },
  parts = { { name = "a" }, {}, { part = { name = "deep" } } }, counts = { b = 1, a = 0 },
  by_number = { [-1] = { name = "minus" }, [5] = {} }, flags = { [true] = "SOME", [false] = "NONE" },
  right = { name = "r" }, maybe = 0, at = { seconds = 1700000000 },
  old = { id = 1, name = "", list = { 1, 2 }, colours = { "GREEN", "RED" }, things = { k = "\xfe" }, ratio = 0 },
)";

constexpr std::string_view kAsText = R"(d: 1.5
f: -0.25
i32: -2147483648
i64: -9223372036854775808
u32: 4294967295
u64: 18446744073709551615
s32: -5
s64: 9223372036854775807
f32: 7
f64: 18446744073709551614
sf32: -7
sf64: -8
b: true
s: "h\303\251llo"
y: "\000\377"
kind: NEGATIVE
nested {
  nested {
    i32: 5
  }
}
packed: 1
packed: -1
packed: 0
loose: 300
loose: 0
texts: ""
texts: "x"
parts {
  name: "a"
}
parts {
}
parts {
  part {
    name: "deep"
  }
}
counts {
  key: "a"
  value: 0
}
counts {
  key: "b"
  value: 1
}
by_number {
  key: -1
  value {
    name: "minus"
  }
}
by_number {
  key: 5
  value {
  }
}
flags {
  key: false
  value: NONE
}
flags {
  key: true
  value: SOME
}
right {
  name: "r"
}
maybe: 0
old {
  id: 1
  name: ""
  ratio: 0
  list: 1
  list: 2
  colours: GREEN
  colours: RED
  things {
    key: "k"
    value: "\376"
  }
}
at {
  seconds: 1700000000
}
)";

void protoc_reads_what_is_written_here(void** state) {
  need_protoc();
  const std::string bytes = run("return assert(schema:encode('peer.three.All', {" + std::string(kValue) + "}))");
  assert_string_equal(peer_of(state).protoc("--decode=peer.three.All", bytes).c_str(), std::string(kAsText).c_str());
}

// Byte for byte: protoc is asked for the same order of maps.
void what_protoc_writes_is_read_and_written_the_same(void** state) {
  need_protoc();
  Peer& peer = peer_of(state);
  const int file = ::open(peer.folder.write("input", std::string(kAsText)).c_str(), O_RDONLY | O_CLOEXEC);
  const CommandResult result = run_to_end({"protoc", "--proto_path=" + peer.folder.path(), "--deterministic_output",
                                           "--encode=peer.three.All", "three.proto"},
                                          {.standard_input = file});
  ::close(file);
  if (result.code != 0) fail_msg("protoc: %s", result.errors.c_str());
  assert_true(result.output.size() > 200);
  const std::string again = run(
      "return assert(schema:encode('peer.three.All', assert(schema:decode('peer.three.All', input))))", result.output);
  assert_int_equal(again.size(), result.output.size());
  assert_memory_equal(again.data(), result.output.data(), again.size());
}

// In proto2 what is absent has a default, in either's eyes the same.
void defaults_are_those_of_protoc(void**) {
  const std::string text =
      run("local old = schema:decode('peer.two.Old', schema:encode('peer.two.Old', { id = 3 }), { defaults = true })\n"
          "return ('%q %q %g %g %s %x %d %s'):format(old.name, old.raw, old.ratio, old.huge, old.colour, old.big, "
          "old.small, "
          "old.yes)");
  assert_string_equal(text.c_str(),
                      "\"a\\\n\\\"\xc3\xa9\" \"\\0\xffx\" -1500 inf GREEN ffffffffffffffff -2147483648 true");
}

}  // namespace

int main() {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_peer, end_peer)
  const CMUnitTest tests[] = {
      TEST(the_descriptors_of_protoc_say_what_the_files_say),
      TEST(protoc_reads_what_is_written_here),
      TEST(what_protoc_writes_is_read_and_written_the_same),
      TEST(defaults_are_those_of_protoc),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
