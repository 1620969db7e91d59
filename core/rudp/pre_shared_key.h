// The key that both sides were given: 32 bytes, from what a user typed or a file holds.
//
// Any thread. Refuses an empty text, one over kMaxKeyText bytes, and "hex:" or "base64:" that do not hold exactly 32 bytes.
#pragma once

#include "rudp/primitives.h"

#include <expected>
#include <string>
#include <string_view>

namespace portolan::rudp {

inline constexpr std::size_t kMaxKeyText = 1024;

// "hex:" and 64 digits, or "base64:" and 44 characters (RFC 4648 section 4): the key as it is. Anything else is a passphrase,
// all its bytes as they are (no line end is cut off), and the key is scrypt of it (RFC 7914) with the salt
// "portolan rudp psk v1", N = 32768, r = 8, p = 1: 32 MiB and about a tenth of a second (half a one on a Raspberry Pi 4),
// so that guessing is slow. Compute it once, when starting, and keep the result. The salt is the same everywhere, because
// two sides that share nothing else yet must come to one key: so one table of guesses serves against all users, and what
// keeps a key is the length of the passphrase. Five random words are enough, a name is not.
std::expected<Secret, std::string> key_of(std::string_view text);

}  // namespace portolan::rudp
