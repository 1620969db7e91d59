#include "rudp/handshake.h"
#include "rudp/noise.h"
#include "rudp/pre_shared_key.h"

#include "octets.h"

#include <cstring>

#include "support/cmocka.h"

using namespace portolan::rudp;

namespace {

// The vector of Noise_NNpsk0_25519_ChaChaPoly_SHA256 in cacophony.txt, which the implementations cacophony and snow share.
constexpr const char* kVectorPrologue = "4a6f686e2047616c74";
constexpr const char* kVectorKey = "54686973206973206d7920417573747269616e20706572737065637469766521";
constexpr const char* kVectorInitiator = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
constexpr const char* kVectorResponder = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
constexpr const char* kVectorHash = "f4d03dc34495c95729ea6de9e1b59004b59733102488b3e24bc441e0be208eaf";
struct VectorMessage {
  const char* payload;
  const char* ciphertext;
};
constexpr VectorMessage kVectorMessages[] = {
    {"4c756477696720766f6e204d69736573",
     "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c794479b962b8aff8485742ac32f905ba45369e2465fb59e138a9"
     "3d67a0d1266b6a54"},
    {"4d757272617920526f746862617264",
     "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d6062704d5a9c422a8e834423f8c1feada7e8d0d910a1a2c"
     "d030fb584221e3"},
    {"462e20412e20486179656b", "e632c3763d7669067383433197a3baddf146e9e70ad4b4e9e59e0f"},
    {"4361726c204d656e676572", "64c6bee32ea91c8474bb4c21d7a700109ad45af77b29764ba5eb1e"},
    {"4a65616e2d426170746973746520536179", "e2fa0bed0603b62d3ccac2ecabbf3fe33f3e86514909b323361626266cb2471cc8"},
    {"457567656e2042f6686d20766f6e2042617765726b",
     "0c01dc9cec1fe4ddd692e8dd32188aa351088dc91183639a53b57aa4692b5ebdef8b8ca111"},
};

void noise_is_noise_to_the_letter(void**) {
  const Octets prologue = from_hex(kVectorPrologue);
  Noise initiator(Noise::Role::initiator, secret_of(kVectorKey), prologue, secret_of(kVectorInitiator));
  Noise responder(Noise::Role::responder, secret_of(kVectorKey), prologue, secret_of(kVectorResponder));
  Noise* sender = &initiator;
  Noise* receiver = &responder;
  for (const VectorMessage& expected : std::span(kVectorMessages).first(2)) {
    const Octets payload = from_hex(expected.payload);
    Octets message(payload.size() + Noise::kOverhead);
    assert_true(sender->write(payload, message));
    assert_string_equal(to_hex(message).c_str(), expected.ciphertext);
    Octets read(payload.size());
    assert_true(receiver->read(message, read));
    assert_true(read == payload);
    std::swap(sender, receiver);
  }
  assert_string_equal(to_hex(initiator.hash().bytes()).c_str(), kVectorHash);
  assert_string_equal(to_hex(responder.hash().bytes()).c_str(), kVectorHash);

  // The secrets are those that the vector's later messages are sealed with, by each side in turn.
  Noise::Split split;
  Noise::Split other;
  assert_true(initiator.split(split) && responder.split(other));
  assert_true(split.to_responder == other.to_responder && split.to_initiator == other.to_initiator);
  AeadKey to_responder(Aead::chacha20_poly1305, AeadKey::Use::seal, split.to_responder);
  AeadKey to_initiator(Aead::chacha20_poly1305, AeadKey::Use::seal, split.to_initiator);
  for (std::size_t i = 2; i < std::size(kVectorMessages); ++i) {
    std::array<std::byte, kNonceSize> nonce{};
    nonce[4] = static_cast<std::byte>((i - 2) / 2);
    Octets message = from_hex(kVectorMessages[i].payload);
    const std::size_t size = message.size();
    message.resize(size + kTagSize);
    AeadKey& key = i % 2 == 0 ? to_responder : to_initiator;
    assert_true(key.seal(nonce, {}, MutableBytes(message).first(size), MutableBytes(message).last<kTagSize>()));
    assert_string_equal(to_hex(message).c_str(), kVectorMessages[i].ciphertext);
  }
}

const Octets kPrologue = from_text("prologue");
const Octets kHello = from_text("hello");
const Octets kWelcome = from_text("welcome");
const std::optional<Secret> kKey = kCounting;
const std::optional<Secret> kOtherKey = secret_of(kVectorKey);
const std::optional<Secret> kNoKey;

template <typename Value>
void assert_refused(const std::expected<Value, HandshakeError>& result, HandshakeError expected) {
  assert_false(result.has_value());
  if (result.error() != expected) fail_msg("%s", std::string(to_string(result.error())).c_str());
}

bool same(Bytes a, Bytes b) { return std::ranges::equal(a, b); }

void both_sides_come_to_the_same_secrets(void**) {
  for (const auto& key : {kKey, kNoKey}) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, Handshake::kMaxPayload}) {
      const Octets parameters = counting(size);
      Handshake initiator = Handshake::initiator(key, kPrologue);
      Handshake responder = Handshake::responder(key, kPrologue);
      assert_true(initiator.is_protected() == key.has_value());
      assert_int_equal(initiator.overhead(), key ? 50 : 14);

      const auto message1 = initiator.write_message1(parameters);
      assert_true(message1.has_value());
      assert_int_equal(message1->view().size(), size + initiator.overhead());
      const auto read1 = responder.read_message1(message1->view());
      assert_true(read1 && same(read1->view(), parameters));
      const auto message2 = responder.write_message2(kWelcome);
      assert_true(message2.has_value());
      const auto read2 = initiator.read_message2(message2->view());
      assert_true(read2 && same(read2->view(), kWelcome));

      const auto ours = initiator.split();
      const auto theirs = responder.split();
      assert_true(ours && theirs);
      assert_true(ours->outgoing == theirs->incoming && ours->incoming == theirs->outgoing);
      assert_false(ours->outgoing == ours->incoming);
      assert_true(ours->cipher == theirs->cipher);
      assert_true(ours->cipher == (key ? preferred_cipher() : Cipher::crc32c));
    }
  }
}

void an_unprotected_handshake_has_the_bytes_that_are_written_down(void**) {
  // Made by a script of its own from the form that the header gives.
  const Secret initiator_nonce = secret_of("101112131415161700000000000000000000000000000000000000000000000f");
  const Secret responder_nonce = secret_of("202122232425262700000000000000000000000000000000000000000000000f");
  Handshake initiator = Handshake::initiator(kNoKey, kPrologue, initiator_nonce);
  Handshake responder = Handshake::responder(kNoKey, kPrologue, responder_nonce);
  const auto message1 = initiator.write_message1(kHello);
  assert_string_equal(to_hex(message1->view()).c_str(), "0010111213141516170068656c6c6f0c14ed87");
  assert_true(responder.read_message1(message1->view()).has_value());
  const auto message2 = responder.write_message2(kWelcome);
  assert_string_equal(to_hex(message2->view()).c_str(), "0020212223242526270077656c636f6d65ee37e2f3");
  assert_true(initiator.read_message2(message2->view()).has_value());
  const auto secrets = initiator.split();
  assert_string_equal(to_hex(secrets->outgoing.bytes().first<4>()).c_str(), "b2adf832");
  assert_string_equal(to_hex(secrets->incoming.bytes().first<4>()).c_str(), "40c67b31");
}

void no_two_handshakes_are_alike(void**) {
  for (const auto& key : {kKey, kNoKey}) {
    const auto message1 = Handshake::initiator(key, kPrologue).write_message1(kHello);
    assert_false(same(message1->view(), Handshake::initiator(key, kPrologue).write_message1(kHello)->view()));
    // Nor are those that begin with one message 1, sent again by somebody else.
    Handshake responder = Handshake::responder(key, kPrologue);
    Handshake again = Handshake::responder(key, kPrologue);
    assert_true(responder.read_message1(message1->view()) && again.read_message1(message1->view()));
    assert_false(same(responder.write_message2(kWelcome)->view(), again.write_message2(kWelcome)->view()));
    assert_false(responder.split()->outgoing == again.split()->outgoing);
  }
}

void who_has_no_key_or_another_is_told_apart(void**) {
  const auto sealed = Handshake::initiator(kKey, kPrologue).write_message1(kHello);
  const auto plain = Handshake::initiator(kNoKey, kPrologue).write_message1(kHello);
  assert_refused(Handshake::responder(kNoKey, kPrologue).read_message1(sealed->view()), HandshakeError::peer_has_key);
  assert_refused(Handshake::responder(kKey, kPrologue).read_message1(plain->view()), HandshakeError::peer_has_no_key);
  assert_refused(Handshake::responder(kOtherKey, kPrologue).read_message1(sealed->view()), HandshakeError::wrong_key);

  // The answer as well: whoever takes the responder's place.
  Handshake plain_responder = Handshake::responder(kNoKey, kPrologue);
  assert_true(plain_responder.read_message1(plain->view()).has_value());
  const auto plain_answer = plain_responder.write_message2(kWelcome);
  Handshake initiator = Handshake::initiator(kKey, kPrologue);
  Handshake responder = Handshake::responder(kKey, kPrologue);
  assert_true(responder.read_message1(initiator.write_message1(kHello)->view()).has_value());
  assert_refused(initiator.read_message2(plain_answer->view()), HandshakeError::peer_has_no_key);
  const auto answer = responder.write_message2(kWelcome);
  Handshake plain_initiator = Handshake::initiator(kNoKey, kPrologue);
  (void)plain_initiator.write_message1(kHello);
  assert_refused(plain_initiator.read_message2(answer->view()), HandshakeError::peer_has_key);

  assert_true(to_string(HandshakeError::peer_has_no_key) == "the peer has no key; give it the same --key");
  assert_true(as_peer_sees(HandshakeError::peer_has_no_key) == HandshakeError::peer_has_key);
  assert_true(as_peer_sees(HandshakeError::peer_has_key) == HandshakeError::peer_has_no_key);
  assert_true(as_peer_sees(HandshakeError::wrong_key) == HandshakeError::wrong_key);
}

void the_prologue_is_bound(void**) {
  const Octets other = from_text("prologuE");
  for (const auto& key : {kKey, kNoKey}) {
    const auto message1 = Handshake::initiator(key, other).write_message1(kHello);
    assert_refused(Handshake::responder(key, kPrologue).read_message1(message1->view()),
                   key ? HandshakeError::wrong_key : HandshakeError::corrupt);
  }
}

void an_answer_to_another_handshake_is_refused(void**) {
  for (const auto& key : {kKey, kNoKey}) {
    Handshake initiator = Handshake::initiator(key, kPrologue);
    Handshake other = Handshake::initiator(key, kPrologue);
    Handshake responder = Handshake::responder(key, kPrologue);
    (void)initiator.write_message1(kHello);
    assert_true(responder.read_message1(other.write_message1(kHello)->view()).has_value());
    assert_refused(initiator.read_message2(responder.write_message2(kWelcome)->view()),
                   key ? HandshakeError::wrong_key : HandshakeError::corrupt);
  }
}

// What a forger makes of a genuine message: each is refused, and the genuine one is still good afterwards.
template <typename Read>
void assert_forgeries_fail(Bytes genuine, std::size_t overhead, const Read& read) {
  for (std::size_t bit = 0; bit < genuine.size() * 8; ++bit) {
    Octets altered(genuine.begin(), genuine.end());
    altered[bit / 8] ^= std::byte{1} << (bit % 8);
    assert_false(read(altered).has_value());
  }
  for (std::size_t size = 0; size < genuine.size(); ++size) {
    const Octets cut(genuine.begin(), genuine.begin() + static_cast<std::ptrdiff_t>(size));
    const auto result = read(cut);
    assert_false(result.has_value());
    if (size < overhead) assert_true(result.error() == HandshakeError::malformed);
  }
  Octets longer(genuine.begin(), genuine.end());
  longer.push_back(std::byte{0});
  assert_false(read(longer).has_value());
  longer.resize(overhead + Handshake::kMaxPayload + 1);
  assert_refused(read(longer), HandshakeError::malformed);
  longer[0] = std::byte{2};
  assert_refused(read(longer), HandshakeError::unknown_protection);
  assert_true(read(Octets(genuine.begin(), genuine.end())).has_value());
}

void forgeries_fail_and_do_not_end_a_handshake(void**) {
  for (const auto& key : {kKey, kNoKey}) {
    Handshake initiator = Handshake::initiator(key, kPrologue);
    Handshake responder = Handshake::responder(key, kPrologue);
    const auto message1 = initiator.write_message1(kHello);
    assert_forgeries_fail(message1->view(), initiator.overhead(),
                          [&](const Octets& message) { return responder.read_message1(message); });
    const auto message2 = responder.write_message2(kWelcome);
    assert_forgeries_fail(message2->view(), initiator.overhead(),
                          [&](const Octets& message) { return initiator.read_message2(message); });
    assert_true(initiator.split()->outgoing == responder.split()->incoming);
  }
}

void calls_out_of_turn_are_refused(void**) {
  for (const auto& key : {kKey, kNoKey}) {
    Handshake initiator = Handshake::initiator(key, kPrologue);
    Handshake responder = Handshake::responder(key, kPrologue);
    assert_refused(initiator.read_message1(kHello), HandshakeError::out_of_turn);
    assert_refused(initiator.read_message2(kHello), HandshakeError::out_of_turn);
    assert_refused(responder.write_message2(kHello), HandshakeError::out_of_turn);
    assert_refused(responder.write_message1(kHello), HandshakeError::out_of_turn);
    assert_refused(initiator.write_message1(counting(513)), HandshakeError::out_of_turn);
    const auto message1 = initiator.write_message1(kHello);
    assert_refused(initiator.write_message1(kHello), HandshakeError::out_of_turn);
    assert_refused(initiator.split(), HandshakeError::out_of_turn);
    assert_true(responder.read_message1(message1->view()).has_value());
    assert_refused(responder.read_message1(message1->view()), HandshakeError::out_of_turn);
    assert_refused(responder.split(), HandshakeError::out_of_turn);
    const auto message2 = responder.write_message2(kWelcome);
    assert_refused(responder.write_message2(kWelcome), HandshakeError::out_of_turn);
    assert_true(initiator.read_message2(message2->view()).has_value());
    assert_refused(initiator.read_message2(message2->view()), HandshakeError::out_of_turn);
  }
}

// A peer with the key, whose messages are those of Noise with any cipher byte.
Octets message_with_cipher(Noise& noise, std::uint8_t cipher) {
  Octets message(1 + Noise::kOverhead + 1);
  message[0] = std::byte{1};
  const std::byte body{cipher};
  assert_true(noise.write(Bytes(&body, 1), MutableBytes(message).subspan(1)));
  return message;
}

void the_responder_takes_a_cipher_that_both_have(void**) {
  for (unsigned wish = 0; wish < 256; ++wish) {
    Noise noise(Noise::Role::initiator, *kKey, kPrologue, Secret::random());
    Handshake responder = Handshake::responder(kKey, kPrologue);
    const auto read = responder.read_message1(message_with_cipher(noise, static_cast<std::uint8_t>(wish)));
    if (wish == 0) {
      assert_refused(read, HandshakeError::malformed);
      continue;
    }
    const auto message2 = responder.write_message2({});
    Octets body(1);
    assert_true(noise.read(Bytes(message2->view()).subspan(1), body));
    const bool aes = wish == 1 && preferred_cipher() == Cipher::aes_256_gcm;
    assert_int_equal(static_cast<int>(body[0]), aes ? 1 : 2);
    assert_true(responder.split()->cipher == static_cast<Cipher>(body[0]));
  }
}

void the_initiator_takes_no_cipher_that_there_is_not(void**) {
  for (unsigned choice = 0; choice < 256; ++choice) {
    Noise noise(Noise::Role::responder, *kKey, kPrologue, Secret::random());
    Handshake initiator = Handshake::initiator(kKey, kPrologue);
    const auto message1 = initiator.write_message1({});
    Octets body(1);
    assert_true(noise.read(Bytes(message1->view()).subspan(1), body));
    const auto read = initiator.read_message2(message_with_cipher(noise, static_cast<std::uint8_t>(choice)));
    if (choice == 1 || choice == 2) {
      assert_true(read.has_value());
      assert_true(initiator.split()->cipher == static_cast<Cipher>(choice));
    } else {
      assert_refused(read, HandshakeError::malformed);
    }
  }
}

void points_of_small_order_agree_with_nobody(void**) {
  const KeyPair own(kCounting);
  Secret agreed;
  // 0, 1 and two points of order 8 (RFC 7748 section 6.1; the list is Bernstein's).
  for (const char* point : {"0000000000000000000000000000000000000000000000000000000000000000",
                            "0100000000000000000000000000000000000000000000000000000000000000",
                            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"}) {
    const Secret peer = secret_of(point);
    assert_false(own.agree(peer.bytes(), agreed));
  }
}

void keys_are_taken_as_they_are_or_made_of_a_passphrase(void**) {
  const auto hex = key_of("hex:000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F");
  assert_true(hex && *hex == kCounting);
  const auto base64 = key_of("base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
  assert_true(base64 && *base64 == kCounting);
  // By Python's hashlib.scrypt.
  const auto made = key_of("five random words are enough");
  assert_true(made.has_value());
  assert_string_equal(to_hex(made->bytes()).c_str(),
                      "6965f9869ceca1c2a43ed1095722d4f20d54ad4c40d0bf00ba45ebd7573bc50c");
  assert_false(*key_of("five random words are enough\n") == *made);
  for (const std::string& text : {
           std::string(),
           std::string("hex:"),
           std::string("hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1"),
           std::string("hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0"),
           std::string("hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g"),
           std::string("base64:"),
           std::string("base64:="),
           std::string("base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
           std::string("base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9="),  // bits over the last byte
           std::string("base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"),
           std::string(kMaxKeyText + 1, 'x'),
       }) {
    if (key_of(text).has_value()) fail_msg("\"%s\" was taken as a key", text.c_str());
  }
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(noise_is_noise_to_the_letter),
      cmocka_unit_test(both_sides_come_to_the_same_secrets),
      cmocka_unit_test(an_unprotected_handshake_has_the_bytes_that_are_written_down),
      cmocka_unit_test(no_two_handshakes_are_alike),
      cmocka_unit_test(who_has_no_key_or_another_is_told_apart),
      cmocka_unit_test(the_prologue_is_bound),
      cmocka_unit_test(an_answer_to_another_handshake_is_refused),
      cmocka_unit_test(forgeries_fail_and_do_not_end_a_handshake),
      cmocka_unit_test(calls_out_of_turn_are_refused),
      cmocka_unit_test(the_responder_takes_a_cipher_that_both_have),
      cmocka_unit_test(the_initiator_takes_no_cipher_that_there_is_not),
      cmocka_unit_test(points_of_small_order_agree_with_nobody),
      cmocka_unit_test(keys_are_taken_as_they_are_or_made_of_a_passphrase),
  };
  return cmocka_run_group_tests_name("core.rudp.handshake", tests, nullptr, nullptr);
}
