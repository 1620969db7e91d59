#include "primitives.h"

#include "base/random.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/core_names.h>

#if defined(__aarch64__) || defined(__arm__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>

namespace portolan::rudp {

namespace {

const unsigned char* octets(Bytes bytes) noexcept { return reinterpret_cast<const unsigned char*>(bytes.data()); }
unsigned char* octets(MutableBytes bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes.data()); }
// Of packets and messages: far below what an int holds.
int count(std::size_t size) noexcept { return static_cast<int>(size); }

// Looked up once: that takes OpenSSL 3 longer than to seal a short packet. Never freed, as threads may still use them.
const EVP_CIPHER* cipher_of(Aead algorithm) noexcept {
  static const EVP_CIPHER* const aes = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  static const EVP_CIPHER* const chacha = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  return algorithm == Aead::aes_256_gcm ? aes : chacha;
}

const EVP_MD* sha256_algorithm() noexcept {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return algorithm;
}

EVP_MAC* hmac_algorithm() noexcept {
  static EVP_MAC* const algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  return algorithm;
}

struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
};
struct FreeAgreement {
  void operator()(EVP_PKEY_CTX* context) const noexcept { EVP_PKEY_CTX_free(context); }
};

}  // namespace

Secret::Secret(std::span<const std::byte, kSize> bytes) noexcept { std::ranges::copy(bytes, bytes_.begin()); }

Secret::~Secret() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

Secret Secret::random() noexcept {
  Secret secret;
  random_bytes(secret.bytes());
  return secret;
}

bool operator==(const Secret& a, const Secret& b) noexcept { return equal_in_constant_time(a.bytes(), b.bytes()); }

bool equal_in_constant_time(Bytes a, Bytes b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool sha256(std::initializer_list<Bytes> parts, Secret& out) noexcept {
  const std::unique_ptr<EVP_MD_CTX, FreeDigest> context(EVP_MD_CTX_new());
  if (!context || EVP_DigestInit_ex(context.get(), sha256_algorithm(), nullptr) != 1) return false;
  for (const Bytes part : parts) {
    if (EVP_DigestUpdate(context.get(), part.data(), part.size()) != 1) return false;
  }
  return EVP_DigestFinal_ex(context.get(), octets(MutableBytes(out.bytes())), nullptr) == 1;
}

bool hmac_sha256(const Secret& key, std::initializer_list<Bytes> parts, Secret& out) noexcept {
  return HmacKey(key).sign(parts, out.bytes());
}

KeyPair::KeyPair(const Secret& private_key) noexcept
    : key_(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, octets(Bytes(private_key.bytes())), Secret::kSize)) {}

bool KeyPair::public_key(std::span<std::byte, 32> out) const noexcept {
  std::size_t size = out.size();
  return key_ && EVP_PKEY_get_raw_public_key(key_.get(), octets(MutableBytes(out)), &size) == 1 && size == out.size();
}

bool KeyPair::agree(std::span<const std::byte, 32> peer_public, Secret& out) const noexcept {
  const std::unique_ptr<EVP_PKEY, Free> peer(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, octets(Bytes(peer_public)), peer_public.size()));
  if (!key_ || !peer) return false;
  const std::unique_ptr<EVP_PKEY_CTX, FreeAgreement> context(EVP_PKEY_CTX_new(key_.get(), nullptr));
  std::size_t size = Secret::kSize;
  return context && EVP_PKEY_derive_init(context.get()) == 1 &&
         EVP_PKEY_derive_set_peer(context.get(), peer.get()) == 1 &&
         EVP_PKEY_derive(context.get(), octets(MutableBytes(out.bytes())), &size) == 1 && size == Secret::kSize;
}

void KeyPair::Free::operator()(evp_pkey_st* key) const noexcept { EVP_PKEY_free(key); }

HmacKey::HmacKey(const Secret& key) noexcept : context_(EVP_MAC_CTX_new(hmac_algorithm())) {
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                   OSSL_PARAM_construct_end()};
  if (context_ && EVP_MAC_init(context_.get(), octets(Bytes(key.bytes())), Secret::kSize, parameters) != 1) {
    context_.reset();
  }
}

bool HmacKey::sign(std::initializer_list<Bytes> parts, std::span<std::byte, 32> out) noexcept {
  // Without a key: the one that it has, from its beginning.
  if (!context_ || EVP_MAC_init(context_.get(), nullptr, 0, nullptr) != 1) return false;
  for (const Bytes part : parts) {
    if (EVP_MAC_update(context_.get(), octets(part), part.size()) != 1) return false;
  }
  std::size_t size = 0;
  return EVP_MAC_final(context_.get(), octets(MutableBytes(out)), &size, out.size()) == 1 && size == out.size();
}

void HmacKey::Free::operator()(evp_mac_ctx_st* context) const noexcept { EVP_MAC_CTX_free(context); }

AeadKey::AeadKey(Aead algorithm, Use use, const Secret& key) noexcept : context_(EVP_CIPHER_CTX_new()) {
  // Both ciphers take a nonce of 12 bytes unless told otherwise.
  const EVP_CIPHER* const cipher = cipher_of(algorithm);
  if (context_ && (!cipher || EVP_CipherInit_ex(context_.get(), cipher, nullptr, octets(Bytes(key.bytes())), nullptr,
                                                use == Use::seal ? 1 : 0) != 1)) {
    context_.reset();
  }
}

bool AeadKey::run(std::span<const std::byte, kNonceSize> nonce, Bytes associated, MutableBytes text) noexcept {
  EVP_CIPHER_CTX* const context = context_.get();
  int size = 0;
  return context && EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, octets(Bytes(nonce)), -1) == 1 &&
         // Nothing to take in: a call with null pointers could be taken for another kind.
         (associated.empty() ||
          EVP_CipherUpdate(context, nullptr, &size, octets(associated), count(associated.size())) == 1) &&
         (text.empty() || EVP_CipherUpdate(context, octets(text), &size, octets(text), count(text.size())) == 1);
}

bool AeadKey::seal(std::span<const std::byte, kNonceSize> nonce, Bytes associated, MutableBytes text,
                   std::span<std::byte, kTagSize> tag) noexcept {
  unsigned char none[kTagSize];
  int size = 0;
  return run(nonce, associated, text) && EVP_CipherFinal_ex(context_.get(), none, &size) == 1 &&
         EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kTagSize, tag.data()) == 1;
}

bool AeadKey::open(std::span<const std::byte, kNonceSize> nonce, Bytes associated, MutableBytes text,
                   std::span<const std::byte, kTagSize> tag) noexcept {
  unsigned char none[kTagSize];
  int size = 0;
  std::array<std::byte, kTagSize> expected;
  std::ranges::copy(tag, expected.begin());  // the library wants to be able to write there
  return run(nonce, associated, text) &&
         EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kTagSize, expected.data()) == 1 &&
         EVP_CipherFinal_ex(context_.get(), none, &size) == 1;
}

void AeadKey::Free::operator()(evp_cipher_ctx_st* context) const noexcept { EVP_CIPHER_CTX_free(context); }

bool has_aes_instructions() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  constexpr unsigned long kBoth = HWCAP_AES | HWCAP_PMULL;
  return (getauxval(AT_HWCAP) & kBoth) == kBoth;
#elif defined(__arm__)
  constexpr unsigned long kBoth = HWCAP2_AES | HWCAP2_PMULL;
  return (getauxval(AT_HWCAP2) & kBoth) == kBoth;
#else
  return false;
#endif
}

}  // namespace portolan::rudp
