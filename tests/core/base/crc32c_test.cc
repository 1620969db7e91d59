#include "base/crc32c.h"

#include "../rudp/octets.h"

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;

namespace {

using Way = std::uint32_t (*)(Bytes, std::uint32_t) noexcept;
constexpr Way kWays[] = {crc32c, crc32c_way::by_instruction, crc32c_way::by_table};

// The definition, bit by bit.
std::uint32_t by_definition(Bytes bytes, std::uint32_t before) {
  std::uint32_t crc = ~before;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

void the_examples_of_rfc_3720_come_out(void**) {
  Octets rising(32);
  Octets falling(32);
  for (unsigned i = 0; i < 32; ++i) rising[i] = falling[31 - i] = static_cast<std::byte>(i);
  // "An iSCSI - SCSI Read (10) Command PDU"
  const Octets command = from_hex(
      "01c00000000000000000000000000000140000000000040000000014000000182800000000000000"
      "0200000000000000");
  for (const Way way : kWays) {
    // Printed there as the bytes aa 36 91 8a, the lowest first.
    assert_int_equal(way(Octets(32), 0), 0x8a9136aa);
    assert_int_equal(way(Octets(32, std::byte{0xff}), 0), 0x62a8ab43);
    assert_int_equal(way(rising, 0), 0x46dd794e);
    assert_int_equal(way(falling, 0), 0x113fdb5c);
    assert_int_equal(way(command, 0), 0xd9963a56);
    assert_int_equal(way(from_text("123456789"), 0), 0xe3069283);
    assert_int_equal(way({}, 0), 0);
  }
}

void all_ways_agree_at_every_length_and_alignment(void**) {
  const Octets bytes = counting(300);
  for (std::size_t from = 0; from < 9; ++from) {
    for (std::size_t size = 0; size + from <= bytes.size(); ++size) {
      const Octets exact(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                         bytes.begin() + static_cast<std::ptrdiff_t>(from + size));
      const std::uint32_t expected = by_definition(exact, 0x12345678);
      for (const Way way : kWays) {
        assert_int_equal(way(exact, 0x12345678), expected);
        assert_int_equal(way(Bytes(bytes).subspan(from, size), 0x12345678), expected);
      }
    }
  }
}

void parts_continue_each_other(void**) {
  const Octets bytes = counting(64);
  const std::uint32_t whole = crc32c(bytes);
  for (const Way way : kWays) {
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
      assert_int_equal(way(Bytes(bytes).subspan(cut), way(Bytes(bytes).first(cut), 0)), whole);
    }
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(the_examples_of_rfc_3720_come_out),
      cmocka_unit_test(all_ways_agree_at_every_length_and_alignment),
      cmocka_unit_test(parts_continue_each_other),
  };
  return cmocka_run_group_tests_name("core.rudp.crc32c", tests, nullptr, nullptr);
}
