#include "rudp/protection.h"

#include "octets.h"

#include <openssl/crypto.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace std::chrono_literals;

namespace {

std::size_t allocations = 0;

void* counted_allocation(std::size_t size, const char*, int) {
  ++allocations;
  return std::malloc(size);
}
void* counted_reallocation(void* memory, std::size_t size, const char*, int) {
  ++allocations;
  return std::realloc(memory, size);
}
void counted_free(void* memory, const char*, int) { std::free(memory); }

}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

constexpr Cipher kCiphers[] = {Cipher::aes_256_gcm, Cipher::chacha20_poly1305, Cipher::crc32c};
constexpr Cipher kAeads[] = {Cipher::aes_256_gcm, Cipher::chacha20_poly1305};
constexpr Duration kNow = 1000s;
const Octets kHeader = from_hex("c0d1d2d3d4d5d6d7d8deadbeef");

struct Packet {
  std::uint64_t number = 0;
  bool key_phase = false;
  Octets header;
  Octets bytes;  // payload and tag
};

Octets with_room(const Octets& payload, std::size_t overhead) {
  Octets packet = payload;
  packet.resize(payload.size() + overhead);
  return packet;
}

// As a sender does it: the phase into the header first.
Packet sealed(PacketSealer& sealer, std::uint64_t number, const Octets& payload = from_text("portolan")) {
  Packet packet{number, sealer.key_phase(), kHeader, with_room(payload, sealer.overhead())};
  packet.header[0] ^= sealer.key_phase() ? std::byte{4} : std::byte{0};
  assert_true(sealer.seal(number, packet.header, packet.bytes).has_value());
  return packet;
}

std::expected<Octets, OpenError> opened(PacketOpener& opener, Packet packet, Duration now = kNow) {
  const auto payload = opener.open(now, packet.number, packet.key_phase, packet.header, packet.bytes);
  if (!payload) return std::unexpected(payload.error());
  return Octets(payload->begin(), payload->end());
}

void assert_opens(PacketOpener& opener, const Packet& packet, Duration now = kNow) {
  const auto payload = opened(opener, packet, now);
  if (!payload)
    fail_msg("packet %llu: %s", static_cast<unsigned long long>(packet.number),
             std::string(to_string(payload.error())).c_str());
  assert_true(*payload == from_text("portolan"));
}

void assert_fails(PacketOpener& opener, const Packet& packet, OpenError expected, Duration now = kNow) {
  const auto payload = opened(opener, packet, now);
  assert_false(payload.has_value());
  if (payload.error() != expected) fail_msg("%s", std::string(to_string(payload.error())).c_str());
}

// Over to the next phase, from packet `number` + 1 on.
Packet updating(PacketSealer& sealer, std::uint64_t number) {
  const std::uint64_t phase = sealer.phase();
  sealer.update_soon();
  sealer.acknowledged(number - 1);
  const Packet last = sealed(sealer, number);
  assert_int_equal(sealer.phase(), phase + 1);
  return last;
}

void packets_have_the_bytes_that_are_written_down(void**) {
  // Made by a script of its own, from the key schedule that the header gives, with Python's `cryptography`.
  struct {
    Cipher cipher;
    const char* first;
    const char* second;
  } const cases[] = {
      {Cipher::aes_256_gcm, "6af1762f0c469025cb099107156489f696d232cecd332b04",
       "797f7a3f953c78cb98e7dd1bf2c3b8d623b87225b2abf8c4"},
      {Cipher::chacha20_poly1305, "3504434721193c932acb8a1aca673c72f2ca625655ba19d9",
       "6d9f01a61cee69acc40b2b28d4bc1f45287c8112c8449f21"},
      {Cipher::crc32c, "706f72746f6c616e3b76a7c4", "706f72746f6c616e2639e8a2"},
  };
  for (const auto& test : cases) {
    PacketSealer sealer(test.cipher, kCounting);
    Octets packet = with_room(from_text("portolan"), sealer.overhead());
    assert_true(sealer.seal(0, kHeader, packet).has_value());
    assert_string_equal(to_hex(packet).c_str(), test.first);
    if (test.cipher != Cipher::crc32c) (void)updating(sealer, 1);
    packet = with_room(from_text("portolan"), sealer.overhead());
    assert_true(sealer.seal(0x3123456789abcdef, kHeader, packet).has_value());
    assert_string_equal(to_hex(packet).c_str(), test.second);
  }
}

void what_is_sealed_opens(void**) {
  for (const Cipher cipher : kCiphers) {
    PacketSealer sealer(cipher, kCounting);
    PacketOpener opener(cipher, kCounting);
    assert_int_equal(sealer.overhead(), cipher == Cipher::crc32c ? 4 : 16);
    std::uint64_t number = 0;
    for (const std::size_t size : {0, 1, 15, 16, 17, 64, 1400, 65000}) {
      const Octets payload = counting(size);
      const Packet packet = sealed(sealer, number, payload);
      number = number * 100 + 7;
      if (cipher != Cipher::crc32c && size >= 15) {
        assert_false(std::ranges::equal(payload, Bytes(packet.bytes).first(size)));
      }
      const auto result = opened(opener, packet);
      assert_true(result && *result == payload);
    }
    // A packet without a header is none of ours, but no trap either.
    Octets bare = with_room(from_text("x"), sealer.overhead());
    assert_true(sealer.seal(kPacketNumberLimit - 1, {}, bare).has_value());
    assert_true(opener.open(kNow, kPacketNumberLimit - 1, false, {}, bare).has_value());
  }
}

void no_bit_can_change_on_the_way(void**) {
  for (const Cipher cipher : kCiphers) {
    PacketSealer sealer(cipher, kCounting);
    PacketOpener opener(cipher, kCounting);
    const Packet genuine = sealed(sealer, 77);
    for (std::size_t bit = 0; bit < genuine.header.size() * 8; ++bit) {
      Packet altered = genuine;
      altered.header[bit / 8] ^= std::byte{1} << (bit % 8);
      assert_fails(opener, altered, OpenError::forged);
    }
    for (std::size_t bit = 0; bit < genuine.bytes.size() * 8; ++bit) {
      Packet altered = genuine;
      altered.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      assert_fails(opener, altered, OpenError::forged);
    }
    for (unsigned bit = 0; bit < 62; ++bit) {
      Packet altered = genuine;
      altered.number ^= std::uint64_t{1} << bit;
      assert_fails(opener, altered, OpenError::forged);
    }
    const std::uint64_t forgeries = opener.forgeries();
    assert_int_equal(forgeries, genuine.header.size() * 8 + genuine.bytes.size() * 8 + 62);
    for (std::size_t size = 0; size < genuine.bytes.size(); ++size) {
      Packet cut = genuine;
      cut.bytes.resize(size);
      assert_fails(opener, cut, size < opener.overhead() ? OpenError::truncated : OpenError::forged);
    }
    Packet longer = genuine;
    longer.bytes.push_back(std::byte{0});
    assert_fails(opener, longer, OpenError::forged);
    assert_opens(opener, genuine);
  }
}

void other_connections_and_the_other_direction_do_not_open(void**) {
  for (const Cipher cipher : kCiphers) {
    PacketSealer sealer(cipher, kCounting);
    PacketOpener stranger(cipher, secret_of("ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"));
    assert_fails(stranger, sealed(sealer, 0), OpenError::forged);
  }
}

void a_packet_number_is_never_used_twice(void**) {
  for (const Cipher cipher : kCiphers) {
    PacketSealer sealer(cipher, kCounting);
    Octets packet = with_room(from_text("x"), sealer.overhead());
    (void)sealed(sealer, 10);
    for (const std::uint64_t number : {std::uint64_t{10}, std::uint64_t{9}, kPacketNumberLimit, ~std::uint64_t{0}}) {
      assert_true(sealer.seal(number, kHeader, packet).error() == SealError::packet_number);
    }
    (void)sealed(sealer, kPacketNumberLimit - 1);
    assert_true(sealer.seal(kPacketNumberLimit - 1, kHeader, packet).error() == SealError::packet_number);
    PacketSealer other(cipher, kCounting);
    Octets tight(other.overhead() - 1);
    assert_true(other.seal(0, kHeader, tight).error() == SealError::no_room);
  }
}

void keys_change_in_time_and_only_after_an_acknowledgement(void**) {
  for (const Cipher cipher : kAeads) {
    PacketSealer by_packets(cipher, kCounting, {.update_packets = 5});
    for (std::uint64_t number = 0; number < 20; ++number) (void)sealed(by_packets, number);
    assert_int_equal(by_packets.phase(), 0);  // nothing is acknowledged
    by_packets.acknowledged(20);              // was never sent
    (void)sealed(by_packets, 20);
    assert_int_equal(by_packets.phase(), 0);
    by_packets.acknowledged(3);
    assert_int_equal(by_packets.phase(), 0);  // not between a header and its packet
    (void)sealed(by_packets, 21);
    assert_int_equal(by_packets.phase(), 1);
    assert_true(by_packets.key_phase());
    // Acknowledgements of the phase before say nothing of this one.
    by_packets.acknowledged(21);
    for (std::uint64_t number = 22; number < 30; ++number) (void)sealed(by_packets, number);
    assert_int_equal(by_packets.phase(), 1);
    by_packets.acknowledged(22);
    (void)sealed(by_packets, 30);
    assert_int_equal(by_packets.phase(), 2);
    assert_false(by_packets.key_phase());

    PacketSealer by_bytes(cipher, kCounting, {.update_bytes = 100});
    (void)sealed(by_bytes, 0, counting(50));
    by_bytes.acknowledged(0);
    assert_int_equal(by_bytes.phase(), 0);
    (void)sealed(by_bytes, 1, counting(50));
    assert_int_equal(by_bytes.phase(), 1);
  }
  PacketSealer unprotected(Cipher::crc32c, kCounting, {.update_packets = 1});
  (void)sealed(unprotected, 0);
  unprotected.acknowledged(0);
  unprotected.update_soon();
  (void)sealed(unprotected, 1);
  assert_false(unprotected.key_phase());
}

void packets_reordered_across_an_update_open(void**) {
  for (const Cipher cipher : kAeads) {
    PacketSealer sealer(cipher, kCounting);
    PacketOpener opener(cipher, kCounting);
    assert_opens(opener, sealed(sealer, 0));
    const Packet late1 = sealed(sealer, 1);
    const Packet late2 = updating(sealer, 2);
    const Packet early3 = sealed(sealer, 3);
    const Packet early4 = sealed(sealer, 4);
    assert_true(early4.key_phase && !late2.key_phase);

    assert_opens(opener, early4);
    assert_int_equal(opener.phase(), 1);
    assert_opens(opener, late1);   // by the previous key
    assert_opens(opener, early3);  // of this phase, below the first that came
    assert_int_equal(opener.phase(), 1);
    assert_opens(opener, late2, kNow + kKeepPrevious - 1ns);
    assert_fails(opener, late2, OpenError::old_key, kNow + kKeepPrevious);
    assert_int_equal(opener.forgeries(), 0);  // late is not forged

    // And on: the bit is again that of phase 0, the key is not.
    const Packet last5 = updating(sealer, 5);
    const Packet first6 = sealed(sealer, 6);
    assert_opens(opener, first6);
    assert_int_equal(opener.phase(), 2);
    assert_opens(opener, last5);
    assert_fails(opener, late1, OpenError::forged);
    for (std::uint64_t number = 7; number < 100; number += 2) {
      const Packet last = updating(sealer, number);
      const Packet first = sealed(sealer, number + 1);
      assert_opens(opener, first);
      assert_opens(opener, last);
    }
    assert_int_equal(opener.phase(), sealer.phase());
  }
}

void a_forged_phase_moves_nothing(void**) {
  for (const Cipher cipher : kAeads) {
    PacketSealer sealer(cipher, kCounting);
    PacketOpener opener(cipher, kCounting);
    assert_opens(opener, sealed(sealer, 0));
    Packet forged = sealed(sealer, 1);
    const Packet genuine = forged;
    forged.key_phase = true;
    assert_fails(opener, forged, OpenError::forged);
    forged.header[0] ^= std::byte{4};
    assert_fails(opener, forged, OpenError::forged);
    assert_int_equal(opener.phase(), 0);
    assert_opens(opener, genuine);
    (void)updating(sealer, 2);
    assert_opens(opener, sealed(sealer, 3));
    assert_int_equal(opener.phase(), 1);
  }
}

void a_key_wears_out(void**) {
  for (const Cipher cipher : kAeads) {
    PacketSealer sealer(cipher, kCounting, {.update_packets = 4, .confidentiality = 8});
    for (std::uint64_t number = 0; number < 8; ++number) (void)sealed(sealer, number);
    Octets packet = with_room(from_text("x"), sealer.overhead());
    assert_true(sealer.seal(8, kHeader, packet).error() == SealError::key_worn_out);
    sealer.acknowledged(7);
    assert_true(sealer.seal(8, kHeader, packet).error() == SealError::key_worn_out);
  }
}

void too_many_forgeries_end_a_connection(void**) {
  for (const Cipher cipher : kCiphers) {
    PacketSealer sealer(cipher, kCounting);
    PacketOpener opener(cipher, kCounting, {.integrity = 3});
    const Packet genuine = sealed(sealer, 0);
    Packet forged = genuine;
    forged.bytes[0] ^= std::byte{1};
    for (int i = 0; i < 3; ++i) {
      assert_opens(opener, genuine);
      assert_fails(opener, forged, OpenError::forged);
    }
    if (cipher == Cipher::crc32c) {
      assert_opens(opener, genuine);  // without a key there is none to guess
    } else {
      assert_fails(opener, genuine, OpenError::limit);
    }
  }
}

void the_limits_are_those_of_rfc_9001(void**) {
  assert_true(kUpdatePackets < kConfidentialityLimit);
  assert_true(kConfidentialityLimit <= std::uint64_t{1} << 23);  // AES-GCM, section 6.6
  assert_true(kIntegrityLimit <= std::uint64_t{1} << 36);        // ChaCha20-Poly1305
}

void packets_cost_no_allocation(void**) {
  for (const Cipher cipher : kCiphers) {
    PacketSealer sealer(cipher, kCounting);
    PacketOpener opener(cipher, kCounting);
    const Octets payload = counting(1400);
    Octets packet = with_room(payload, sealer.overhead());
    Octets forged = packet;
    const std::size_t before = allocations;
    assert_true(before > 0);  // it is counted at all
    for (std::uint64_t number = 0; number < 100; ++number) {
      assert_true(sealer.seal(number, kHeader, packet).has_value());
      sealer.acknowledged(number);
      assert_true(opener.open(kNow, number, false, kHeader, packet).has_value());
      assert_false(opener.open(kNow, number, false, kHeader, forged).has_value());
    }
    assert_int_equal(allocations, before);
  }
}

}  // namespace

int main() {
  // Before the library allocates anything.
  if (CRYPTO_set_mem_functions(counted_allocation, counted_reallocation, counted_free) != 1) return 1;
  const CMUnitTest tests[] = {
      cmocka_unit_test(packets_have_the_bytes_that_are_written_down),
      cmocka_unit_test(what_is_sealed_opens),
      cmocka_unit_test(no_bit_can_change_on_the_way),
      cmocka_unit_test(other_connections_and_the_other_direction_do_not_open),
      cmocka_unit_test(a_packet_number_is_never_used_twice),
      cmocka_unit_test(keys_change_in_time_and_only_after_an_acknowledgement),
      cmocka_unit_test(packets_reordered_across_an_update_open),
      cmocka_unit_test(a_forged_phase_moves_nothing),
      cmocka_unit_test(a_key_wears_out),
      cmocka_unit_test(too_many_forgeries_end_a_connection),
      cmocka_unit_test(the_limits_are_those_of_rfc_9001),
      cmocka_unit_test(packets_cost_no_allocation),
  };
  return cmocka_run_group_tests_name("core.rudp.protection", tests, nullptr, nullptr);
}
