// Noise_NNpsk0_25519_ChaChaPoly_SHA256, one side of it: the Noise Protocol Framework, revision 34, sections 5, 7.5 and 9.
//
//   NNpsk0:   -> psk, e        message 1 = e (32) || payload sealed under the pre-shared key (n + 16)
//             <- e, ee         message 2 = e (32) || payload sealed under that and the ephemeral keys' agreement (n + 16)
//
// What it gives: who does not hold the key can neither make nor read a message. Message 2 and all that follows have forward
// secrecy; message 1 has none (who learns the key later reads it), and it can be replayed: its receiver knows that the peer
// is there now with the first packet that opens under the traffic secrets. A key that is a word can be guessed from one
// recorded message 1, one slow KDF a guess (pre_shared_key.h).
//
// Sans-I/O; one owner, any thread. A message that is refused leaves it as it was: a forger cannot end a handshake.
#pragma once

#include "rudp/primitives.h"

#include <optional>

namespace portolan::rudp {

class Noise {
 public:
  enum class Role : std::uint8_t { initiator, responder };
  static constexpr std::size_t kKeySize = 32;
  static constexpr std::size_t kOverhead = kKeySize + kTagSize;  // of each message, over its payload

  // `ephemeral` is the private key of this one handshake: random, and never given twice.
  Noise(Role role, const Secret& pre_shared, Bytes prologue, const Secret& ephemeral) noexcept;

  // message.size() == payload.size() + kOverhead. False: the library refused, or it is not this side's turn.
  [[nodiscard]] bool write(Bytes payload, MutableBytes message) noexcept;
  // payload.size() == message.size() - kOverhead. False: not made with this key and this prologue, or not its turn.
  [[nodiscard]] bool read(Bytes message, MutableBytes payload) noexcept;

  // After both messages: the secrets of initiator to responder, and of responder to initiator (Split, section 5.2).
  struct Split {
    Secret to_responder;
    Secret to_initiator;
  };
  [[nodiscard]] bool split(Split& out) const noexcept;
  const Secret& hash() const noexcept { return state_.hash; }  // h: of the handshake so far

 private:
  struct
      State {  // SymmetricState, with the CipherState in it: its nonce is 0 wherever it is used, as each payload has a key
    Secret chaining_key;
    Secret hash;
    Secret key;
    bool mix_hash(Bytes data) noexcept;
    bool mix_key(Bytes input) noexcept;
    bool mix_key_and_hash(Bytes input) noexcept;
    bool encrypt_and_hash(Bytes text, MutableBytes out) noexcept;
    bool decrypt_and_hash(Bytes sealed, MutableBytes out) noexcept;
  };
  using PublicKey = std::array<std::byte, kKeySize>;
  bool mix_tokens(State& state, const PublicKey& sent, const PublicKey& of_peer) const noexcept;
  bool my_turn(bool writing) const noexcept;

  Role role_;
  std::uint8_t messages_ = 0;  // done, of two
  bool usable_ = false;
  Secret pre_shared_;
  Secret ephemeral_;
  std::optional<KeyPair> own_;  // from writing on: a message that is refused shall not cost a key pair
  PublicKey peer_public_{};
  State state_;
};

}  // namespace portolan::rudp
