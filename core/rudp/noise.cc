#include "noise.h"

#include <algorithm>
#include <string_view>

namespace portolan::rudp {

namespace {

constexpr std::string_view kProtocolName = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
constexpr std::array<std::byte, kNonceSize> kFirstNonce{};

Bytes octets(std::string_view text) noexcept { return std::as_bytes(std::span(text.data(), text.size())); }

// HKDF of section 4.3, whose outputs are one, two or three.
bool derive(const Secret& chaining_key, Bytes input, std::initializer_list<Secret*> outputs) noexcept {
  Secret key;
  if (!hmac_sha256(chaining_key, {input}, key)) return false;
  Secret last;
  Bytes before;
  std::byte index{1};
  for (Secret* const output : outputs) {
    if (!hmac_sha256(key, {before, Bytes(&index, 1)}, last)) return false;
    *output = last;
    before = last.bytes();
    index = static_cast<std::byte>(static_cast<unsigned>(index) + 1);
  }
  return true;
}

}  // namespace

bool Noise::State::mix_hash(Bytes data) noexcept { return sha256({hash.bytes(), data}, hash); }

bool Noise::State::mix_key(Bytes input) noexcept { return derive(chaining_key, input, {&chaining_key, &key}); }

bool Noise::State::mix_key_and_hash(Bytes input) noexcept {
  Secret to_hash;
  return derive(chaining_key, input, {&chaining_key, &to_hash, &key}) && mix_hash(to_hash.bytes());
}

bool Noise::State::encrypt_and_hash(Bytes text, MutableBytes out) noexcept {
  std::ranges::copy(text, out.begin());
  return AeadKey(Aead::chacha20_poly1305, AeadKey::Use::seal, key)
             .seal(kFirstNonce, hash.bytes(), out.first(text.size()), out.last<kTagSize>()) &&
         mix_hash(out);
}

bool Noise::State::decrypt_and_hash(Bytes sealed, MutableBytes out) noexcept {
  std::ranges::copy(sealed.first(out.size()), out.begin());
  return AeadKey(Aead::chacha20_poly1305, AeadKey::Use::open, key)
             .open(kFirstNonce, hash.bytes(), out, sealed.last<kTagSize>()) &&
         mix_hash(sealed);
}

Noise::Noise(Role role, const Secret& pre_shared, Bytes prologue, const Secret& ephemeral) noexcept
    : role_(role), pre_shared_(pre_shared), ephemeral_(ephemeral) {
  // Longer than a hash, so the hash of the name stands for it (section 5.2).
  static_assert(kProtocolName.size() > Secret::kSize);
  usable_ = sha256({octets(kProtocolName)}, state_.hash);
  state_.chaining_key = state_.hash;
  usable_ = usable_ && state_.mix_hash(prologue);
}

bool Noise::my_turn(bool writing) const noexcept {
  return usable_ && messages_ < 2 && writing == ((role_ == Role::initiator) == (messages_ == 0));
}

// What comes before a payload. Token psk in message 1; token e, which where a pattern has a pre-shared key goes into the
// key as well (section 9.2); token ee in message 2.
bool Noise::mix_tokens(State& state, const PublicKey& sent, const PublicKey& of_peer) const noexcept {
  if (messages_ == 0) {
    return state.mix_key_and_hash(pre_shared_.bytes()) && state.mix_hash(sent) && state.mix_key(sent);
  }
  Secret agreed;
  return state.mix_hash(sent) && state.mix_key(sent) && own_->agree(of_peer, agreed) && state.mix_key(agreed.bytes());
}

bool Noise::write(Bytes payload, MutableBytes message) noexcept {
  if (!my_turn(true) || message.size() != payload.size() + kOverhead) return false;
  if (!own_) own_.emplace(ephemeral_);
  PublicKey own;
  State state = state_;
  if (!own_->public_key(own) || !mix_tokens(state, own, peer_public_)) return false;
  std::ranges::copy(own, message.begin());
  if (!state.encrypt_and_hash(payload, message.subspan(kKeySize))) return false;
  state_ = state;
  ++messages_;
  return true;
}

bool Noise::read(Bytes message, MutableBytes payload) noexcept {
  if (!my_turn(false) || message.size() != payload.size() + kOverhead) return false;
  PublicKey peer;
  std::ranges::copy(message.first<kKeySize>(), peer.begin());
  State state = state_;
  if (!mix_tokens(state, peer, peer) || !state.decrypt_and_hash(message.subspan(kKeySize), payload)) return false;
  peer_public_ = peer;
  state_ = state;
  ++messages_;
  return true;
}

bool Noise::split(Split& out) const noexcept {
  return messages_ == 2 && derive(state_.chaining_key, {}, {&out.to_responder, &out.to_initiator});
}

}  // namespace portolan::rudp
