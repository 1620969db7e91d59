// The handshake and the packets of rudp under a forger: what is genuine is read as it was written, and what is not is
// refused and changes nothing. Input: a byte that chooses what is fed, then the bytes.
//
//   raw        as message 1 to a responder, as message 2 to an initiator, as a packet, with and without a key
//   forged     genuine messages whose payload is the input, in which a byte is altered, or which are cut or lengthened
//   packets    a script: seal, acknowledge, change keys, deliver, deliver altered, let time pass
#include "fuzz_target.h"
#include "rudp/protection.h"
#include "rudp/replay_window.h"

#include <algorithm>
#include <vector>

using namespace portolan;
using namespace portolan::rudp;
using fuzz::check;

namespace {

using Octets = std::vector<std::byte>;

Secret secret(std::uint8_t fill) {
  Secret secret;
  std::ranges::fill(secret.bytes(), std::byte{fill});
  return secret;
}

// The same in every run, or a finding could not be had again.
struct Pair {
  Octets prologue = {std::byte{1}, std::byte{2}};
  Handshake initiator;
  Handshake responder;
  explicit Pair(bool keyed)
      : initiator(Handshake::initiator(key(keyed), prologue, secret(3))),
        responder(Handshake::responder(key(keyed), prologue, secret(4))) {}
  static std::optional<Secret> key(bool keyed) { return keyed ? std::optional(secret(7)) : std::nullopt; }
};

// From an allocation of exactly its size: AddressSanitizer sees what reads past it.
Octets copy(Bytes bytes) { return Octets(bytes.begin(), bytes.end()); }
bool same(Bytes a, Bytes b) { return std::ranges::equal(a, b); }

void feed_raw(bool keyed, Bytes data) {
  Pair pair(keyed);
  const Octets bytes = copy(data);
  const auto read = pair.responder.read_message1(bytes);
  check(!read || !keyed, "nobody makes a message without the key");
  check(!read || read->view().size() + pair.responder.overhead() == bytes.size(), "a payload is what was sent");
  const auto message1 = pair.initiator.write_message1({});
  check(message1.has_value(), "an initiator writes");
  check(!pair.initiator.read_message2(bytes) || !keyed, "nobody answers without the key");
  for (const Cipher cipher : {Cipher::aes_256_gcm, Cipher::chacha20_poly1305, Cipher::crc32c}) {
    PacketOpener opener(cipher, secret(9));
    Octets packet = bytes;
    const std::size_t header = std::min<std::size_t>(packet.size(), 13);
    const auto opened =
        opener.open(Duration{}, 5, keyed, MutableBytes(packet).first(header), MutableBytes(packet).subspan(header));
    check(!opened || cipher == Cipher::crc32c, "nobody makes a packet without the key");
  }
}

// One change of a message: a checksum finds every change within four bytes, a tag every change.
Octets forged(Bytes genuine, std::uint8_t where, std::uint8_t how, bool keyed) {
  Octets message = copy(genuine);
  if (keyed && how % 8 == 0) {
    message.resize(where % message.size());
  } else if (keyed && how % 8 == 1) {
    message.resize(message.size() + 1 + where);
  } else {
    message[(where * 3U + how) % message.size()] ^= std::byte{static_cast<std::uint8_t>(how | 1U)};
  }
  return message;
}

void feed_forged(bool keyed, std::uint8_t where, std::uint8_t how, Bytes payload) {
  Pair pair(keyed);
  const auto message1 = pair.initiator.write_message1(payload);
  check(message1.has_value() == (payload.size() <= Handshake::kMaxPayload), "a payload has its limit");
  if (!message1) return;
  check(!pair.responder.read_message1(forged(message1->view(), where, how, keyed)), "a forged message 1 is refused");
  const auto read1 = pair.responder.read_message1(message1->view());
  check(read1 && same(read1->view(), payload), "message 1 is read as it was written");
  const auto message2 = pair.responder.write_message2(payload);
  check(message2.has_value(), "a responder writes");
  check(!pair.initiator.read_message2(forged(message2->view(), where, how, keyed)), "a forged message 2 is refused");
  const auto read2 = pair.initiator.read_message2(message2->view());
  check(read2 && same(read2->view(), payload), "message 2 is read as it was written");
  const auto ours = pair.initiator.split();
  const auto theirs = pair.responder.split();
  check(ours && theirs && ours->cipher == theirs->cipher, "both use one cipher");
  check(ours->outgoing == theirs->incoming && ours->incoming == theirs->outgoing, "both have the same secrets");
}

struct Packet {
  std::uint64_t phase;
  std::array<std::byte, 9> header;
  Octets bytes;
};

void feed_packets(Cipher cipher, Bytes script) {
  PacketSealer sealer(cipher, secret(9), {.update_packets = 16});
  PacketOpener opener(cipher, secret(9));
  ReplayWindow window;
  Duration now{};
  Duration changed{};  // when the opener went over to its phase
  std::vector<Packet> sent;
  std::vector<bool> arrived;
  for (std::size_t at = 0; at + 1 < script.size() && sent.size() < 500; at += 2) {
    const auto argument = static_cast<std::uint8_t>(script[at + 1]);
    const auto operation = static_cast<unsigned>(script[at]) % 8;
    if (operation < 3) {
      Packet packet{sealer.phase(), {}, copy(script.subspan(at, std::min<std::size_t>(argument, script.size() - at)))};
      packet.header[0] = std::byte{static_cast<std::uint8_t>(sealer.key_phase())};
      packet.bytes.resize(packet.bytes.size() + sealer.overhead());
      check(sealer.seal(sent.size(), packet.header, packet.bytes).has_value(), "packets are sealed");
      sent.push_back(packet);
      arrived.push_back(false);
    } else if (operation == 3) {
      // Only what arrived is acknowledged: that is what the change of keys relies on.
      if (argument < arrived.size() && arrived[argument]) sealer.acknowledged(argument);
    } else if (operation == 4) {
      sealer.update_soon();
    } else if (operation == 5) {
      now += std::chrono::seconds(argument % 16);
    } else if (!sent.empty()) {
      const std::uint64_t number = argument < 128 ? sent.size() - 1 - argument % sent.size() : argument % sent.size();
      Packet packet = sent[number];
      const bool altered = operation == 7;
      if (altered) packet.bytes[argument % packet.bytes.size()] ^= std::byte{1};
      const std::uint64_t phase = opener.phase();
      check(window.is_new(number) == !arrived[number], "the window knows what arrived");
      const auto opened = opener.open(now, number, (packet.phase & 1U) != 0, packet.header, packet.bytes);
      check(!opened || !altered, "an altered packet does not open");
      check(altered ? opener.phase() == phase : opener.phase() == std::max(phase, packet.phase),
            "genuine packets alone change keys");
      const bool held = packet.phase >= phase || (packet.phase + 1 == phase && now < changed + kKeepPrevious);
      check(altered || opened.has_value() == held, "a packet opens as long as its key is held");
      if (opener.phase() != phase) changed = now;
      if (opened) {
        check(window.accept(number) == !arrived[number], "a packet is accepted once");
        arrived[number] = true;
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input_data, std::size_t size) {
  fuzz::Input input(input_data, size);
  const std::uint8_t choice = input.byte();
  const bool keyed = (choice & 1U) != 0;
  const std::uint8_t where = choice / 8 % 3 == 1 ? input.byte() : 0;
  const std::uint8_t how = choice / 8 % 3 == 1 ? input.byte() : 0;
  const std::string_view text = input.rest();
  const Bytes data = std::as_bytes(std::span(text.data(), text.size()));
  switch (choice / 8 % 3) {
    case 0: feed_raw(keyed, data); break;
    case 1: feed_forged(keyed, where, how, data); break;
    default: feed_packets(static_cast<Cipher>(choice % 3), data); break;
  }
  return 0;
}
