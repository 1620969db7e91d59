// What is wrong with the certificate of a peer, in a sentence that says what to do; and public keys as pins.
//
// What a certificate says comes from the network: it is cut and made printable here. Pure, but for the time of day; any
// thread. Functions that answer a text may throw std::bad_alloc.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include <openssl/x509.h>

namespace portolan {

// SHA-256 of the SubjectPublicKeyInfo (RFC 7469 section 2.4): it stays when a certificate is renewed for the same key.
using PublicKeyHash = std::array<unsigned char, 32>;
std::optional<PublicKeyHash> public_key_hash(const X509* certificate) noexcept;
// "sha256/" and base64, as curl and browsers write it; the prefix may be missing ("sha256//" is curl's).
std::string pin_of(const PublicKeyHash& hash);
std::optional<PublicKeyHash> parse_pin(std::string_view pin) noexcept;

// After X509_verify_cert has refused: why.
std::string certificate_problem(X509_STORE_CTX* chain);

}  // namespace portolan
