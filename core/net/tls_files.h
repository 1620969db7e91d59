// What the TLS contexts of both sides are made of: their settings, and the PEM files of certificates, keys, authorities.
//
// Functions over an SSL_CTX that is being made, on the thread that makes it. They answer what is wrong, in a sentence
// that names the file; an empty text when nothing is.
#pragma once

#include <string>

#include <openssl/ssl.h>

namespace portolan {

// The latest of OpenSSL's errors in its own words, and all of them are forgotten.
std::string openssl_error();

// Null when out of memory. `min_version` is 12 or 13.
SSL_CTX* new_tls_context(const SSL_METHOD* side, int min_version);

// A certificate with those that lead to its authority, and its key; without a `key` it is in the same file.
std::string load_certificate(SSL_CTX* context, const std::string& certificate, const std::string& key);

// Authorities to trust. `what` is how the message calls the file: "client CA".
std::string load_authorities(SSL_CTX* context, const std::string& path, const char* what);

}  // namespace portolan
