#include "support/certificates.h"

#include "base/clock.h"
#include "net/certificate_time.h"

#include <cstdio>
#include <cstdlib>
#include <memory>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

namespace portolan::testing {

namespace {

struct Freed {
  void operator()(BIO* value) const { BIO_free_all(value); }
  void operator()(EVP_PKEY* value) const { EVP_PKEY_free(value); }
  void operator()(X509* value) const { X509_free(value); }
};
using Bio = std::unique_ptr<BIO, Freed>;
using Key = std::unique_ptr<EVP_PKEY, Freed>;
using Certificate = std::unique_ptr<X509, Freed>;

// A test cannot go on without its certificates, and there is nothing it could do about it.
void must(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "test certificates: %s\n", what);
  ERR_print_errors_fp(stderr);
  std::abort();
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Key read_key(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  must(key != nullptr, "reading a key");
  return key;
}

Certificate read_certificate(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  must(certificate != nullptr, "reading a certificate");
  return certificate;
}

void extend(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
  must(extension && X509_add_ext(certificate, extension, -1) == 1, "adding an extension");
  X509_EXTENSION_free(extension);
}

// Without an `authority` it signs for itself; without `names` it is an authority.
Identity make(const std::string& name, const Identity* authority, const std::string& names, const Validity& validity) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  must(key && certificate, "making a key");
  X509_set_version(certificate.get(), X509_VERSION_3);
  std::uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial >> 1U);
  const std::int64_t now = unix_ms() / 1000;
  const bool given = validity.until != 0;
  must(set_certificate_time(X509_getm_notBefore(certificate.get()), given ? validity.from : now - 3600) &&
           set_certificate_time(X509_getm_notAfter(certificate.get()), given ? validity.until : now + 24 * 3600),
       "setting the times");
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  const Certificate issuer = authority ? read_certificate(authority->certificate) : nullptr;
  X509* const signer = issuer ? issuer.get() : certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer));
  if (!names.empty()) {
    extend(certificate.get(), signer, NID_basic_constraints, "critical,CA:FALSE");
    extend(certificate.get(), signer, NID_subject_alt_name, names.c_str());
  } else {
    extend(certificate.get(), signer, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate.get(), signer, NID_key_usage, "critical,keyCertSign,cRLSign");
  }
  const Key signing_key = authority ? read_key(authority->key) : nullptr;
  must(X509_sign(certificate.get(), signing_key ? signing_key.get() : key.get(), EVP_sha256()) > 0, "signing");

  Identity identity;
  const Bio key_out(BIO_new(BIO_s_mem()));
  const Bio certificate_out(BIO_new(BIO_s_mem()));
  must(PEM_write_bio_PrivateKey(key_out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1 &&
           PEM_write_bio_X509(certificate_out.get(), certificate.get()) == 1,
       "writing PEM");
  identity.key = text_of(key_out.get());
  identity.certificate = text_of(certificate_out.get());
  return identity;
}

}  // namespace

Identity make_authority(const std::string& name, const Validity& validity) { return make(name, nullptr, "", validity); }

Identity issue_authority(const Identity& authority, const std::string& name, const Validity& validity) {
  return make(name, &authority, "", validity);
}

Identity issue(const Identity& authority, const std::string& name, const Validity& validity) {
  return make(name, &authority, "DNS:" + name + ",IP:127.0.0.1,IP:::1", validity);
}

Identity issue_for(const Identity& authority, const std::string& name, const std::string& names,
                   const Validity& validity) {
  return make(name, &authority, names, validity);
}

std::string public_key_pin(const Identity& identity) {
  const Key key = read_key(identity.key);
  unsigned char* encoded = nullptr;
  const int size = i2d_PUBKEY(key.get(), &encoded);  // SubjectPublicKeyInfo
  unsigned char hash[32];
  must(size > 0 && EVP_Digest(encoded, static_cast<std::size_t>(size), hash, nullptr, EVP_sha256(), nullptr) == 1,
       "hashing a key");
  OPENSSL_free(encoded);
  char text[45];
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text), hash, sizeof hash);
  return std::string("sha256/") + text;
}

ClientTls::ClientTls(const ClientTlsOptions& options) : context_(SSL_CTX_new(TLS_client_method())) {
  must(context_ != nullptr, "making a context");
  SSL_CTX_set_min_proto_version(context_, options.min_version);
  SSL_CTX_set_max_proto_version(context_, options.max_version);
  SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (!options.authority.empty()) {
    const Certificate authority = read_certificate(options.authority);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_), authority.get());
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
  }
  if (!options.identity.key.empty()) {
    const Key key = read_key(options.identity.key);
    const Certificate certificate = read_certificate(options.identity.certificate);
    must(SSL_CTX_use_certificate(context_, certificate.get()) == 1 && SSL_CTX_use_PrivateKey(context_, key.get()) == 1,
         "using an identity");
  }
}

std::string peer_name(SSL* ssl) {
  const Certificate certificate(ssl ? SSL_get1_peer_certificate(ssl) : nullptr);
  if (!certificate) return {};
  char name[128] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name, sizeof name);
  return name;
}

}  // namespace portolan::testing
