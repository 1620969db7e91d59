// portolan.base64, portolan.hex, portolan.hash, portolan.hmac, portolan.random: OpenSSL does the work.
#include "script/bind.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>

namespace portolan {
namespace {

constexpr std::size_t kBytesPerInstruction = 8;

void pay(lua_State* state, std::size_t bytes) { Sandbox::of(state).charge(state, bytes / kBytesPerInstruction); }

int base64_encode(lua_State* state) {
  const std::string_view text = check_text(state, 1);
  pay(state, text.size());
  luaL_Buffer buffer;
  char* out = luaL_buffinitsize(state, &buffer, (text.size() + 2) / 3 * 4 + 1);
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  luaL_pushresultsize(&buffer, static_cast<std::size_t>(size));
  return 1;
}

// OpenSSL takes white space around and does not say how much of the last group is padding.
int base64_decode(lua_State* state) {
  const std::string_view text = check_text(state, 1);
  pay(state, text.size());
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  const std::size_t last = text.substr(0, text.size() - padding)
                               .find_last_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
  if (text.size() % 4 != 0 || last != std::string_view::npos) return push_failure(state, "not base64");
  if (text.empty()) {
    lua_pushliteral(state, "");
    return 1;
  }
  luaL_Buffer buffer;
  char* out = luaL_buffinitsize(state, &buffer, text.size() / 4 * 3);
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  luaL_pushresultsize(&buffer, size < 0 ? 0 : static_cast<std::size_t>(size) - padding);
  if (size >= 0) return 1;
  return push_failure(state, "not base64");
}

std::string to_hex(std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char c : bytes) {
    text += kHex[static_cast<unsigned char>(c) >> 4U];
    text += kHex[static_cast<unsigned char>(c) & 15U];
  }
  return text;
}

int hex_encode(lua_State* state) {
  const std::string_view text = check_text(state, 1);
  pay(state, text.size());
  push_text(state, to_hex(text));
  return 1;
}

int hex_decode(lua_State* state) {
  const std::string_view text = check_text(state, 1);
  pay(state, text.size());
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  if (text.size() % 2 != 0) return push_failure(state, "not hexadecimal");
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t at = 0; at < text.size(); at += 2) {
    const int high = digit(text[at]);
    const int low = digit(text[at + 1]);
    if (high < 0 || low < 0) return push_failure(state, "not hexadecimal");
    bytes += static_cast<char>(high * 16 + low);
  }
  push_text(state, bytes);
  return 1;
}

const EVP_MD* check_hash(lua_State* state, int index) {
  const std::string_view name = check_text(state, index);
  if (name == "sha256") return EVP_sha256();
  if (name == "sha512") return EVP_sha512();
  if (name == "sha1") return EVP_sha1();
  if (name == "md5") return EVP_md5();
  luaL_argerror(state, index, "sha256, sha512, sha1 or md5");
  return nullptr;
}

int push_digest(lua_State* state, std::string_view digest, int raw) {
  push_text(state, lua_toboolean(state, raw) != 0 ? std::string(digest) : to_hex(digest));
  return 1;
}

int hash(lua_State* state) {
  const EVP_MD* algorithm = check_hash(state, 1);
  const std::string_view text = check_text(state, 2);
  pay(state, text.size());
  std::array<char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()), &size, algorithm,
                 nullptr) != 1)
    return push_failure(state, "this build's OpenSSL refuses the algorithm");
  return push_digest(state, {digest.data(), size}, 3);
}

int hmac(lua_State* state) {
  const EVP_MD* algorithm = check_hash(state, 1);
  const std::string_view key = check_text(state, 2);
  const std::string_view text = check_text(state, 3);
  pay(state, key.size() + text.size());
  std::array<char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (!HMAC(algorithm, key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
            text.size(), reinterpret_cast<unsigned char*>(digest.data()), &size))
    return push_failure(state, "this build's OpenSSL refuses the algorithm");
  return push_digest(state, {digest.data(), size}, 4);
}

// Without telling by its time where two texts differ.
int same(lua_State* state) {
  const std::string_view one = check_text(state, 1);
  const std::string_view other = check_text(state, 2);
  pay(state, one.size());
  lua_pushboolean(state,
                  one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0 ? 1 : 0);
  return 1;
}

int random(lua_State* state) {
  const lua_Integer count = luaL_checkinteger(state, 1);
  if (count < 1 || count > 65'536) luaL_argerror(state, 1, "from 1 to 65536 bytes");
  pay(state, static_cast<std::size_t>(count));
  luaL_Buffer buffer;
  char* out = luaL_buffinitsize(state, &buffer, static_cast<std::size_t>(count));
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out), static_cast<int>(count)) != 1)
    luaL_error(state, "the system gives no random bytes");
  luaL_pushresultsize(&buffer, static_cast<std::size_t>(count));
  return 1;
}

constexpr LuaFunction kBase64[] = {
    {"encode", &base64_encode, "(bytes) -> string", "RFC 4648 section 4, with padding"},
    {"decode", &base64_decode, "(text) -> string | nil, reason", "strict: no white space, with padding"},
};
constexpr LuaFunction kHex[] = {
    {"encode", &hex_encode, "(bytes) -> string", "lower case"},
    {"decode", &hex_decode, "(text) -> string | nil, reason", "either case"},
};
constexpr LuaFunction kFunctions[] = {
    {"hash", &hash, "(algorithm, bytes, raw?) -> string", "sha256, sha512, sha1, md5; hexadecimal unless raw is true"},
    {"hmac", &hmac, "(algorithm, key, bytes, raw?) -> string", "a keyed hash (RFC 2104)"},
    {"same", &same, "(text, text) -> boolean", "compares secrets: it takes as long wherever they differ"},
    {"random", &random, "(count) -> string", "unpredictable bytes, at most 65536"},
};

}  // namespace

const LuaArea kBase64Area = {"portolan.base64.", "Bytes as text.", kBase64};
const LuaArea kHexArea = {"portolan.hex.", "Bytes as text.", kHex};
const LuaArea kHashArea = {"portolan.", "Hashes and chance.", kFunctions};

void bind_encodings(lua_State* state) {
  lua_newtable(state);
  add_functions(state, kBase64);
  lua_setfield(state, -2, "base64");
  lua_newtable(state);
  add_functions(state, kHex);
  lua_setfield(state, -2, "hex");
  add_functions(state, kFunctions);
}

}  // namespace portolan
