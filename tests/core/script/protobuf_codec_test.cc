// Messages as a script writes and reads them.
#include "script/sandbox.h"

#include <lua.hpp>

#include <cstdio>
#include <string>
#include <string_view>

#include "support/cmocka.h"

using namespace portolan;

namespace {

constexpr std::size_t kMemory = std::size_t{16} << 20U;
constexpr std::uint64_t kInstructions = 20'000'000;

// What every script here has in front of it.
constexpr std::string_view kBefore = R"lua(
local pb, hex, json = portolan.protobuf, portolan.hex, portolan.json
local function of(fields) return pb.load('syntax = "proto3"; message M { ' .. fields .. ' }') end
local function of2(fields) return pb.load('message M { ' .. fields .. ' }') end
-- Hexadecimal of the message; or "! " and why not.
local function enc(schema, value)
  local bytes, why = schema:encode("M", value)
  return bytes and hex.encode(bytes) or "! " .. why
end
local function un(text) return (hex.decode((text:gsub(" ", "")))) end
local function text_of(value)
  if type(value) == "table" then
    local keys, parts = {}, {}
    for key in pairs(value) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    for _, key in ipairs(keys) do parts[#parts + 1] = tostring(key) .. "=" .. text_of(value[key]) end
    return "{" .. table.concat(parts, " ") .. "}"
  end
  return math.type(value) == "float" and ("%.9g"):format(value) .. "f" or tostring(value)
end
local function dec(schema, text, options)
  local value, why = schema:decode("M", un(text), options)
  return value and text_of(value) or "! " .. why
end
)lua";

// What the chunk returned as text, or "! " and the error.
std::string run(const std::string& source, std::uint64_t instructions = kInstructions, std::size_t memory = kMemory) {
  Sandbox sandbox({.memory = memory, .memory_hint = {}, .instructions_hint = {}});
  if (auto result = sandbox.run("c.lua", std::string(kBefore) + source, instructions); !result)
    return "! " + result.error();
  std::size_t length = 0;
  const char* text = luaL_tolstring(sandbox.state(), -1, &length);
  return {text, length};
}

void complain(const std::string& source, std::string_view expected, const std::string& found) {
  std::fprintf(stderr, "%s\nexpected: %.*s\nfound:    %s\n", source.substr(0, 2000).c_str(),
               static_cast<int>(expected.size()), expected.data(), found.substr(0, 400).c_str());
  fail();
}
void expect(const std::string& expression, std::string_view expected) {
  const std::string found = run("return " + expression);
  if (found != expected) complain(expression, expected, found);
}
// Somewhere in what it answers, or raises.
void expect_part(const std::string& source, std::string_view part, std::uint64_t instructions = kInstructions,
                 std::size_t memory = kMemory) {
  const std::string found = run(source, instructions, memory);
  if (found.find(part) == std::string::npos) complain(source, part, found);
}

// The examples of https://protobuf.dev/programming-guides/encoding/.
void the_examples_of_the_encoding_are_met(void**) {
  expect("enc(of 'int32 a = 1;', { a = 150 })", "089601");
  expect("dec(of 'int32 a = 1;', '08 96 01')", "{a=150}");
  expect("enc(of 'string b = 2;', { b = 'testing' })", "120774657374696e67");
  expect("dec(of 'string b = 2;', '12 07 74 65 73 74 69 6e 67')", "{b=testing}");
  expect("enc(of 'message T { int32 a = 1; } T c = 3;', { c = { a = 150 } })", "1a03089601");
  expect("dec(of 'message T { int32 a = 1; } T c = 3;', '1a 03 08 96 01')", "{c={a=150}}");
  expect("enc(of 'string d = 4; repeated int32 e = 6;', { d = 'hello', e = { 1, 2, 3 } })", "220568656c6c6f3203010203");
  expect("enc(of2 'optional string d = 4; repeated int32 e = 5;', { d = 'hello', e = { 1, 2, 3 } })",
         "220568656c6c6f280128022803");
  expect("dec(of 'string d = 4; repeated int32 e = 5;', '28 01 28 02 22 05 68 65 6c 6c 6f 28 03')",
         "{d=hello e={1=1 2=2 3=3}}");
  expect("enc(of 'repeated int32 f = 6;', { f = { 3, 270, 86942 } })", "3206038e029ea705");
  expect("dec(of 'repeated int32 f = 6;', '32 06 03 8e 02 9e a7 05')", "{f={1=3 2=270 3=86942}}");
  expect("enc(of 'int32 a = 1;', { a = -2 })", "08feffffffffffffffff01");
  for (const char* pair :
       {"-1, '01'", "1, '02'", "-2, '03'", "0x7fffffff, 'feffffff0f'", "-0x80000000, 'ffffffff0f'"}) {
    expect(
        std::string(
            "(function(value, bytes) local s = of 'sint32 a = 1;' "
            "return enc(s, { a = value }) == '08' .. bytes and dec(s, '08' .. bytes) == text_of { a = value } end)(") +
            pair + ")",
        "true");
  }
}

// Written as these bytes, and read from them.
void every_type_has_its_bounds(void**) {
  struct {
    const char* type;
    const char* value;
    const char* bytes;
  } const cases[] = {
      {"int32", "2147483647", "08ffffffff07"},
      {"int32", "-2147483648", "0880808080f8ffffffff01"},
      {"int64", "math.maxinteger", "08ffffffffffffffff7f"},
      {"int64", "math.mininteger", "0880808080808080808001"},
      {"uint32", "4294967295", "08ffffffff0f"},
      {"uint64", "-1", "08ffffffffffffffffff01"},
      {"sint64", "math.maxinteger", "08feffffffffffffffff01"},
      {"sint64", "math.mininteger", "08ffffffffffffffffff01"},
      {"fixed32", "4294967295", "0dffffffff"},
      {"sfixed32", "-2147483648", "0d00000080"},
      {"fixed64", "-1", "09ffffffffffffffff"},
      {"sfixed64", "math.mininteger", "090000000000000080"},
      {"bool", "true", "0801"},
      {"double", "1.5", "09000000000000f83f"},
      {"double", "-0.0", "090000000000000080"},
      {"double", "math.huge", "09000000000000f07f"},
      {"float", "1.5", "0d0000c03f"},
      {"float", "-math.huge", "0d000080ff"},
      {"float", "3.4028234663852886e38", "0dffff7f7f"},
      {"string", "'\\0\\u{20ac}'", "0a0400e282ac"},
      {"bytes", "'\\xff\\x00'", "0a02ff00"},
      {"E", "'TWO'", "0802"},
      {"E", "-5", "08fbffffffffffffffff01"},
  };
  for (const auto& one : cases) {
    const std::string schema = std::string("of 'enum E { ZERO = 0; TWO = 2; } ") + one.type + " v = 1;'";
    expect("enc(" + schema + ", { v = " + one.value + " })", one.bytes);
    expect("dec(" + schema + ", '" + one.bytes + "') == text_of { v = " + one.value + " }", "true");
  }
  expect("enc(of 'double v = 1; float w = 2;', { v = 3, w = 2 })", "0900000000000008401500000040");
  expect("enc(of 'int32 v = 1;', { v = 3.0 })", "0803");
  expect("tostring(of 'double v = 1;':decode('M', un '09 000000000000f8ff').v):gsub('-', '')", "nan");
  // More than fits is cut, as others cut it.
  expect(
      "dec(of 'int32 v = 1; uint32 w = 2; bool b = 3; sint32 s = 4;', "
      "'08 ff ff ff ff 1f 10 80 80 80 80 10 18 80 80 80 80 10 20 83 80 80 80 10')",
      "{b=true s=-2 v=-1 w=0}");
}

void what_does_not_fit_is_refused_with_its_path(void**) {
  struct {
    const char* fields;
    const char* table;
    const char* error;
  } const cases[] = {
      {"int32 v = 1;", "v = 2147483648", "M.v: expected an integer from -2147483648 to 2147483647, found 2147483648"},
      {"sint32 v = 1;", "v = -2147483649",
       "M.v: expected an integer from -2147483648 to 2147483647, found -2147483649"},
      {"sfixed32 v = 1;", "v = 1.5", "M.v: expected an integer from -2147483648 to 2147483647, found 1.5"},
      {"uint32 v = 1;", "v = -1", "M.v: expected an integer from 0 to 4294967295, found -1"},
      {"fixed32 v = 1;", "v = 4294967296", "M.v: expected an integer from 0 to 4294967295, found 4294967296"},
      {"int64 v = 1;", "v = 2^63", "M.v: expected an integer of 64 bits, found 9.223372036854776e+18"},
      {"uint64 v = 1;", "v = '5'", "M.v: expected an integer of 64 bits, found a string"},
      {"bool v = 1;", "v = 1", "M.v: expected a boolean, found 1"},
      {"double v = 1;", "v = '1'", "M.v: expected a number, found a string"},
      {"float v = 1;", "v = 1e39", "M.v: expected a number that fits float, found 1e+39"},
      {"string v = 1;", "v = 5", "M.v: expected a string, found 5"},
      {"string v = 1;", "v = 'a\\xff'", "M.v: expected UTF-8, found other bytes"},
      {"bytes v = 1;", "v = {}", "M.v: expected a string, found a table"},
      {"repeated int32 v = 1;", "v = 5", "M.v: expected a list, found 5"},
      {"repeated int32 v = 1;", "v = { 1, 'x' }",
       "M.v[2]: expected an integer from -2147483648 to 2147483647, found a string"},
      {"repeated int32 v = 1;", "v = { a = 1 }", "M.v: expected a list with the keys 1 to n, found another key"},
      {"repeated int32 v = 1;", "v = { 1, nil, nil, 4 }",
       "M.v: expected a list with the keys 1 to n, found holes in it"},
      {"repeated string v = 1;", "v = { 'a', json.null }", "M.v[2]: expected a string, found a userdata"},
      {"map<string, int32> v = 1;", "v = 'x'", "M.v: expected a table, found a string"},
      {"map<string, int32> v = 1;", "v = { 5 }", "M.v: expected a string, found 1, as a key"},
      {"map<int32, int32> v = 1;", "v = { x = 5 }",
       "M.v: expected an integer from -2147483648 to 2147483647, found a string, as a key"},
      {"map<string, int32> v = 1;", "v = { x = 'y' }",
       "M.v[\"x\"]: expected an integer from -2147483648 to 2147483647, found a string"},
      {"map<bool, bool> v = 1;", "v = { [true] = 1 }", "M.v[\"true\"]: expected a boolean, found 1"},
      {"map<int32, M> v = 1;", "v = { [7] = { v = { [-8] = 5 } } }", "M.v[7].v[-8]: expected a table, found 5"},
      {"M m = 1; repeated M l = 2; int32 v = 3;", "m = { l = { {}, {}, { v = true } } }",
       "M.m.l[3].v: expected an integer from -2147483648 to 2147483647, found a boolean"},
      {"M m = 1;", "m = 'x'", "M.m: expected a table, found a string"},
      {"int32 price = 1;", "prize = 1", "M: M has no field \"prize\"; did you mean \"price\"?"},
      {"M m = 1;", "m = { xyz = 1 }", "M.m: M has no field \"xyz\"; its fields are: m"},
      {"M m = 1;", "5", "M: expected names of fields as keys, found a number"},
      {"enum E { ZERO = 0; ONE = 1; } E e = 1;", "e = 'ON'", "M.e: M.E has no value \"ON\"; did you mean \"ONE\"?"},
      {"enum E { ZERO = 0; ONE = 1; } E e = 1;", "e = true",
       "M.e: expected a value of M.E, or its number, found a boolean"},
      {"enum E { ZERO = 0; ONE = 1; } E e = 1;", "e = 1 << 31",
       "M.e: expected a value of M.E, or its number, found 2147483648"},
      {"oneof o { int32 a = 1; M b = 2; } oneof p { int32 c = 3; }", "a = 1, c = 2, b = {}",
       "M: both \"a\" and \"b\", expected one of those in \"o\""},
  };
  for (const auto& one : cases)
    expect(std::string("enc(of '") + one.fields + "', { " + one.table + " })", std::string("! ") + one.error);
  expect("enc(of2 'required int32 a = 1; optional M m = 2;', { a = 1, m = {} })", "! M.m.a: required, but absent");
}

void messages_are_written_in_order_and_without_defaults(void**) {
  expect("enc(of 'int32 z = 1; int32 a = 500; string m = 2;', { a = 1, m = 'x', z = 2 })", "0802120178a01f01");
  expect(
      "enc(of 'int32 a = 1; string b = 2; bool c = 3; double d = 4; E e = 5; enum E { Z = 0; } repeated int32 f = 6; "
      "map<int32, int32> g = 7;', { a = 0, b = '', c = false, d = 0, e = 'Z', f = {}, g = {} })",
      "");
  expect("enc(of 'optional int32 a = 1; oneof o { string b = 2; } M m = 3;', { a = 0, b = '', m = {} })",
         "080012001a00");
  expect("enc(of2 'optional int32 a = 1 [default = 5];', { a = 0 })", "0800");
  expect("enc(of 'repeated int32 a = 1;', { a = { 0, 0 } })", "0a020000");
  expect("enc(of 'repeated M a = 1; int32 b = 2;', { a = { {}, { b = 0 }, { b = 1 } } })", "0a000a000a021001");
  expect("enc(of 'int32 a = 1; M m = 2;', { a = json.null, m = { m = json.null } })", "1200");
  // Maps by key: numbers by their value, texts by their bytes.
  expect("enc(of 'map<int32, string> m = 1;', { m = { [1] = '', [-1] = '', [0] = '' } })",
         "0a0d08ffffffffffffffffff0112000a04080012000a0408011200");
  expect("enc(of 'map<uint64, bool> m = 1;', { m = { [-1] = true, [1] = true } })",
         "0a04080110010a0d08ffffffffffffffffff011001");
  expect("enc(of 'map<string, int32> m = 1;', { m = { b = 1, a = 2, [''] = 3 } })",
         "0a040a0010030a050a016110020a050a01621001");
  expect("enc(of 'map<bool, M> m = 1;', { m = { [true] = {}, [false] = {} } })", "0a04080012000a0408011200");
}

void the_last_wins_and_messages_are_merged(void**) {
  expect("dec(of 'int32 a = 1;', '08 01 08 02')", "{a=2}");
  expect(
      "dec(of 'M m = 1; int32 a = 2; int32 b = 3; repeated int32 l = 4;', '0a 06 10 01 18 02 20 07 0a 04 10 05 20 08')",
      "{m={a=5 b=2 l={1=7 2=8}}}");
  const std::string oneof = "of 'oneof o { int32 a = 1; M m = 2; string s = 3; } int32 x = 4;'";
  expect("dec(" + oneof + ", '08 01 1a 01 78')", "{s=x}");
  expect("dec(" + oneof + ", '1a 01 78 12 02 20 01 12 00')", "{m={x=1}}");
  expect("dec(" + oneof + ", '12 02 20 01 08 01 12 00')", "{m={}}");
  // Of a map: an entry may be in any order, in parts, or empty; a key that is there twice is the later.
  expect("dec(of 'map<string, int32> m = 1;', '0a 05 0a 01 61 10 01 0a 05 10 02 0a 01 61 0a 00 0a 02 10 07')",
         "{m={=7 a=2}}");
  expect("dec(of 'map<int32, M> m = 1; int32 a = 2; int32 b = 3;', '0a 0a 12 02 10 01 08 05 12 02 18 02 0a 02 08 06')",
         "{m={5={a=1 b=2} 6={}}}");
  expect("dec(of 'enum E { Z = 0; } map<bool, E> m = 1; map<int64, double> n = 2;', '0a 00 0a 02 08 02 12 00')",
         "{m={false=Z true=Z} n={0=0f}}");
}

void lists_are_read_packed_or_not(void**) {
  for (const char* schema : {"of 'repeated sint32 l = 1;'", "of 'repeated sint32 l = 1 [packed = false];'"}) {
    expect(std::string("dec(") + schema + ", '08 01 0a 02 02 03 0a 00 08 04')", "{l={1=-1 2=1 3=-2 4=2}}");
    expect(std::string("dec(") + schema + ", '0a 00')", "{}");
    expect(std::string("dec(") + schema + ", '0a 02 02 83')",
           "! M.l[2]: malformed at byte 4: a varint that does not end, or is too large");
  }
  expect("enc(of 'repeated sint32 l = 1 [packed = false];', { l = { 1, -1 } })", "08020801");
  expect("dec(of 'repeated double l = 1; repeated fixed32 m = 2;', '0a 08 00 00 00 00 00 00 f8 3f 15 01 00 00 00')",
         "{l={1=1.5f} m={1=1}}");
  expect("dec(of 'repeated double l = 1;', '0a 09 00 00 00 00 00 00 f8 3f 00')",
         "! M.l[2]: malformed at byte 10: eight bytes that are not all there");
  expect("dec(of 'repeated string s = 1; repeated bytes b = 2;', '0a 00 0a 01 78 12 00')", "{b={1=} s={1= 2=x}}");
  expect("dec(of 'enum E { Z = 0; } repeated E e = 1; repeated bool b = 2;', '0a 02 00 09 12 02 00 01')",
         "{b={1=false 2=true} e={1=Z 2=9}}");
  // JSON tells them from maps.
  expect("json.encode(of 'repeated int32 a = 1;':decode('M', '', { defaults = true }))", "{\"a\":[]}");
  expect("json.encode(of 'repeated M m = 1;':decode('M', un '0a 00', { defaults = true }))", "{\"m\":[{\"m\":[]}]}");
  expect("json.encode(of 'map<int32, M> m = 1;':decode('M', '', { defaults = true }))", "{\"m\":{}}");
}

void what_is_unknown_is_skipped(void**) {
  const std::string schema = "of 'int32 a = 1; string s = 2;'";
  expect("dec(" + schema + ", '18 05 21 0000000000000000 2a 01 78 35 00000000 08 07')", "{a=7}");
  expect("dec(" + schema + ", '1b 08 01 13 14 1c 08 07')", "{a=7}");  // groups, which are another's
  expect("dec(" + schema + ", '0a 01 78 10 05 08 07')", "{a=7}");     // known, but sent as another type
  expect("dec(" + schema + ", '1b 08 01')", "! M: malformed at byte 3: a group that does not end");
  expect("dec(" + schema + ", '1b 14')", "! M: malformed at byte 2: the end of another group");
  expect("dec(" + schema + ", '1c')", "! M: malformed at byte 1: the end of a group that has not begun");
  expect("dec(" + schema + ", ('1b'):rep(101))", "! M: malformed at byte 101: groups nested too deeply");
  expect("dec(" + schema + ", '1e')", "! M: malformed at byte 1: a wire type that is none");
  expect("dec(" + schema + ", '00 01')", "! M: malformed at byte 1: the field number 0");
  expect("dec(" + schema + ", '88 80 80 80 80 01 05')",
         "! M: malformed at byte 6: a tag that does not end, or is too large");
  expect("dec(" + schema + ", '08 ff ff ff ff ff ff ff ff ff 02')",
         "! M.a: malformed at byte 11: a varint that does not end, or is too large");
  // 2^32 + 1, and what is negative where sizes have 32 bits.
  expect("dec(" + schema + ", '12 81 80 80 80 10 78')", "! M.s: malformed at byte 6: a length beyond the end");
  expect("dec(" + schema + ", '12 ff ff ff ff 0f 78')", "! M.s: malformed at byte 6: a length beyond the end");
  expect("dec(" + schema + ", '12 ff ff ff ff ff ff ff ff ff 01 78')",
         "! M.s: malformed at byte 11: a length beyond the end");
}

void a_message_that_is_cut_is_refused_or_ends_there(void**) {
  expect_part(R"(
    local s = of 'int32 a = 1; string b = 2; M m = 3; repeated fixed64 l = 4; map<string, double> d = 5; repeated M n = 6;'
    local function fill(depth)
      return { a = -depth - 1, b = ("x"):rep(depth * 70 + 1), l = { 1, 2 }, d = { k = 1.5 },
        m = depth > 0 and fill(depth - 1) or nil, n = depth > 0 and { fill(depth - 1), {} } or nil }
    end
    local whole = s:encode("M", fill(3))
    assert(text_of(s:decode("M", whole)) == text_of(fill(3)))
    local good = 0
    for size = 0, #whole - 1 do
      local value, why = s:decode("M", whole:sub(1, size))
      if value then good = good + 1 else assert(why:find("malformed at byte", 1, true), why) end
    end
    return good .. " of " .. #whole
  )",
              "7 of ");
}

void text_has_to_be_utf8_where_proto3_says_so(void**) {
  expect("dec(of 'string s = 1;', '0a 02 c3 a9') == '{s=\\u{e9}}'", "true");
  expect("dec(of 'string s = 1;', '0a 01 c3')", "! M.s: text that is not UTF-8");
  expect("dec(of 'map<string, string> m = 1;', '0a 03 0a 01 c3')", "! M.m: text that is not UTF-8");
  expect("#of 'bytes s = 1;':decode('M', un '0a 01 c3').s", "1");
  expect("#of2 'optional string s = 1;':decode('M', un '0a 01 c3').s", "1");
}

void nesting_has_a_bound(void**) {
  const std::string build = R"(
    local s = of 'M m = 1; repeated M l = 2; map<int32, M> d = 3;'
    local function nest(depth, key)
      local value = {}
      for _ = 2, depth do value = key == "m" and { m = value } or { [key] = { value } } end
      return value
    end
    local function size(number) -- of a varint
      local bytes = ""
      while number > 127 do bytes, number = bytes .. string.char(number & 127 | 128), number >> 7 end
      return bytes .. string.char(number)
    end
    local function wire(depth, tag, before)
      local bytes = ""
      for _ = 2, depth do
        if before then bytes = before .. size(#bytes) .. bytes end
        bytes = tag .. size(#bytes) .. bytes
      end
      return bytes
    end
  )";
  for (const char* key : {"m", "l", "d"})
    expect_part(build + "return #s:encode('M', nest(100, '" + key + "')) > 100 and s:encode('M', nest(101, '" + key +
                    "')) == nil and select(2, s:encode('M', nest(101, '" + key + "')))",
                "nested deeper than 100");
  for (const char* wire : {"'\\x0a'", "'\\x12'", "'\\x1a', '\\x12'"})
    expect_part(
        build + "return s:decode('M', wire(100, " + wire + ")) and select(2, s:decode('M', wire(101, " + wire + ")))",
        "nested deeper than 100");
  // A table that holds itself.
  expect_part(build + "local t = {} t.m = t return select(2, s:encode('M', t))", "nested deeper than 100");
  expect_part(build + "return s:decode('M', wire(2000, '\\x0a')) or 'refused'", "refused");
}

void required_fields_are_looked_for_at_the_end(void**) {
  const std::string schema =
      "of2 'required int32 a = 1; optional M m = 2; repeated M l = 3; map<int32, M> d = 4; optional int32 b = 5;'";
  expect("dec(" + schema + ", '08 01')", "{a=1}");
  expect("dec(" + schema + ", '')", "! M.a: required, but absent");
  expect("dec(" + schema + ", '08 01 12 00')", "! M.m.a: required, but absent");
  expect("dec(" + schema + ", '08 01 12 02 28 01 12 02 08 02')", "{a=1 m={a=2 b=1}}");  // in two parts
  expect("dec(" + schema + ", '08 01 1a 02 08 01 1a 00')", "! M.l[2].a: required, but absent");
  expect("dec(" + schema + ", '08 01 22 02 08 01')", "! M.d.a: required, but absent");
}

void defaults_are_filled_in_where_asked_for(void**) {
  expect(
      "dec(of 'int32 a = 1; string b = 2; bool c = 3; float d = 4; enum E { Z = 0; } E e = 5; bytes f = 6; M m = 7; "
      "optional int32 g = 8; oneof o { int32 h = 9; } repeated int32 i = 10; map<int32, M> j = 11;', '3a 00 5a 00', "
      "{ defaults = true })",
      "{a=0 b= c=false d=0f e=Z f= i={} j={0={a=0 b= c=false d=0f e=Z f= i={} j={}}} m={a=0 b= c=false d=0f e=Z f= "
      "i={} j={}}}");
  expect(
      "dec(of2 'optional int32 a = 1 [default = -7]; optional string b = 2 [default = \"x\"]; optional bool c = 3 "
      "[default = "
      "true]; optional double d = 4 [default = 2.5]; optional E e = 5 [default = B]; optional int32 f = 6; enum E { A "
      "= 1; B "
      "= 2; } optional float g = 7 [default = 1e3]; optional uint64 h = 8 [default = 18446744073709551615];', '', "
      "{ defaults = true })",
      "{a=-7 b=x c=true d=2.5f e=B g=1000f h=-1}");
  expect("dec(of 'int32 a = 1;', '', { defaults = false })", "{}");
  expect("dec(of 'int32 a = 1;', '08 05', { defaults = true })", "{a=5}");
}

void mistakes_in_a_script_raise(void**) {
  expect_part("return of 'int32 a = 1'", "c.lua:3: schema: 1:44: found \"}\", expected \";\" behind the field");
  expect_part("return pb.load('import \"a\";', { imports = { a = 'message A {' } })",
              "schema: a:1:11: a { without its }");
  expect_part("return pb.load('', { imports = 5 })", "imports: expected a table of names and texts");
  expect_part("return pb.load('', { imports = { a = 5 } })", "imports: expected a table of names and texts");
  expect_part("return pb.load_descriptor('x')", "schema: the set: malformed");
  expect_part("return of 'int32 a = 1;':encode('N', {})", "the schema has no message \"N\"");
  expect_part("return pb.load('message pkg { message Order { } }'):encode('pkg.Ordre', {})",
              "did you mean \"pkg.Order\"?");
  expect_part("return of 'map<int32, int32> a = 1;':decode('M.AEntry', '')", "the schema has no message \"M.AEntry\"");
  expect_part("return of 'int32 a = 1;':encode('M')", "table expected");
  expect_part("return of 'int32 a = 1;'.encode({}, 'M', {})", "portolan.protobuf.schema expected");
  expect("json.encode(of 'message B { } map<int32, int32> a = 1;':messages())", "[\"M\",\"M.B\"]");
  expect("json.encode(pb.load(''):messages())", "[]");
  expect("getmetatable(of 'int32 a = 1;')", "schema");
  expect_part("local s = of 'int32 a = 1;' s.x = 1", "attempt to index");
}

// Each of these would take long, or much memory, were it not stopped.
void budgets_hold(void**) {
  const std::string list = "local s = of 'repeated int32 l = 1; repeated M m = 2; string t = 3; oneof o { " + [] {
    std::string members;
    for (int number = 4; number < 1000; ++number)
      members += "int32 f" + std::to_string(number) + " = " + std::to_string(number) + "; ";
    return members + "}'\n";
  }();
  expect_part(list + "return #s:decode('M', '\\x0a\\x80\\x89\\x7a' .. ('\\1'):rep(2000000)).l",
              "stopped after 1,000,000", 1'000'000);
  expect_part(list + "return #s:decode('M', ('\\x12\\0'):rep(1000000)).m", "stopped at 16MiB of memory");
  expect_part(list + "return s:decode('M', ('\\x20\\1\\x28\\1'):rep(100000))", "stopped after");
  expect_part(list + "local t = {} for i = 1, 100000 do t[i] = s end return enc(s, { l = t })", "expected an integer");
  expect_part(list + "local m = {} for _ = 1, 30 do m = { m = { m, m } } end return s:encode('M', m)", "stopped after",
              1'000'000);
  expect_part(list +
                  "local x = { t = ('x'):rep(1 << 20) } local m = {} for i = 1, 17 do m[i] = x end "
                  "return select(2, s:encode('M', { m = m }))",
              "M.m[16].t: longer than 16777216 bytes");
  expect_part("return pb.load((' '):rep(1 << 18))", "stopped after", 100'000);
  expect_part("return pb.load('', { imports = { a = (' '):rep(1 << 18) } })", "stopped after", 100'000);
  expect_part("return pb.load_descriptor(('\\x1a\\0'):rep(1 << 17))", "stopped after", 100'000);
  expect_part(
      "local t = {} for i = 1, 2000 do t[i] = 'message M' .. i .. ' { int32 a = 1; int32 b = 2; }' end "
      "local text = 'syntax = \"proto3\";' .. table.concat(t) local all = {} "
      "while true do all[#all + 1] = pb.load(text) end",
      "stopped at 16MiB of memory", 1'000'000'000);
  // Schemas that nobody holds any longer are collected.
  expect_part(
      "local t = {} for i = 1, 1000 do t[i] = 'message M' .. i .. ' { int32 a = 1; int32 b = 2; }' end "
      "local text = 'syntax = \"proto3\";' .. table.concat(t) for _ = 1, 200 do pb.load(text) end return 'done'",
      "done", 1'000'000'000);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(the_examples_of_the_encoding_are_met),
      cmocka_unit_test(every_type_has_its_bounds),
      cmocka_unit_test(what_does_not_fit_is_refused_with_its_path),
      cmocka_unit_test(messages_are_written_in_order_and_without_defaults),
      cmocka_unit_test(the_last_wins_and_messages_are_merged),
      cmocka_unit_test(lists_are_read_packed_or_not),
      cmocka_unit_test(what_is_unknown_is_skipped),
      cmocka_unit_test(a_message_that_is_cut_is_refused_or_ends_there),
      cmocka_unit_test(text_has_to_be_utf8_where_proto3_says_so),
      cmocka_unit_test(nesting_has_a_bound),
      cmocka_unit_test(required_fields_are_looked_for_at_the_end),
      cmocka_unit_test(defaults_are_filled_in_where_asked_for),
      cmocka_unit_test(mistakes_in_a_script_raise),
      cmocka_unit_test(budgets_hold),
  };
  return cmocka_run_group_tests(tests, nullptr, nullptr);
}
