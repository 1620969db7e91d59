#include "tls_files.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace portolan {

namespace {

std::string unreadable(const std::string& path, const char* what) {
  return fmt::format("cannot read the {} \"{}\": {}", what, path, std::strerror(errno));
}

bool readable(const std::string& path) {
  if (std::FILE* file = std::fopen(path.c_str(), "re")) {
    std::fclose(file);
    return true;
  }
  return false;
}

}  // namespace

std::string openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (!code) return "no reason given";
  const char* reason = ERR_reason_error_string(code);
  return reason ? reason : fmt::format("error {:#x}", code);
}

SSL_CTX* new_tls_context(const SSL_METHOD* side, int min_version) {
  ERR_clear_error();
  SSL_CTX* context = SSL_CTX_new(side);
  if (!context) return nullptr;
  SSL_CTX_set_min_proto_version(context, min_version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Read-ahead halves the reads of a record; releasing buffers makes an idle session small.
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  return context;
}

std::string load_certificate(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  if (!readable(certificate)) return unreadable(certificate, "certificate");
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    return fmt::format("the certificate \"{}\" is not a PEM certificate ({})", certificate, openssl_error());
  const std::string& key_file = key.empty() ? certificate : key;
  if (!readable(key_file)) return unreadable(key_file, "key");
  if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    const unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH) {
      ERR_clear_error();
      return fmt::format(
          "the key \"{}\" does not fit the certificate \"{}\": give the key that the certificate was made for",
          key_file, certificate);
    }
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH) {
      ERR_clear_error();
      return fmt::format("the key \"{}\" is of another type than the certificate \"{}\"", key_file, certificate);
    }
    return fmt::format("the key \"{}\" is not a PEM private key without a passphrase ({})", key_file, openssl_error());
  }
  if (SSL_CTX_check_private_key(context) != 1)
    return fmt::format(
        "the key \"{}\" does not fit the certificate \"{}\": give the key that the certificate was made for", key_file,
        certificate);
  return {};
}

std::string load_authorities(SSL_CTX* context, const std::string& path, const char* what) {
  if (!readable(path)) return unreadable(path, what);
  if (SSL_CTX_load_verify_locations(context, path.c_str(), nullptr) != 1)
    return fmt::format("the {} \"{}\" is not a PEM certificate ({})", what, path, openssl_error());
  return {};
}

}  // namespace portolan
