// What is said of a server's certificate: whatever a certificate has in it, a sentence that can be printed. Input: how
// it is looked at, then the certificate (DER).
#include "fuzz_target.h"
#include "net/certificate_problem.h"

#include <algorithm>
#include <memory>

#include <openssl/x509_vfy.h>

using namespace portolan;
using fuzz::check;

namespace {

struct Freed {
  void operator()(X509* value) const { X509_free(value); }
  void operator()(X509_STORE* value) const { X509_STORE_free(value); }
  void operator()(X509_STORE_CTX* value) const { X509_STORE_CTX_free(value); }
};

// Answers `error` in the place of whatever OpenSSL would refuse, so that every sentence has its turn.
void check_sentence(X509* certificate, int error) {
  const std::unique_ptr<X509_STORE, Freed> store(X509_STORE_new());
  const std::unique_ptr<X509_STORE_CTX, Freed> chain(X509_STORE_CTX_new());
  X509_STORE_CTX_init(chain.get(), store.get(), certificate, nullptr);
  X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(chain.get()), "nas.lan", 7);
  if (X509_verify_cert(chain.get()) == 1) return;
  if (error != X509_V_OK) X509_STORE_CTX_set_error(chain.get(), error);
  const std::string sentence = certificate_problem(chain.get());
  check(!sentence.empty(), "a refusal says why");
  check(sentence.size() < 1000, "a refusal is short");
  check(std::ranges::all_of(sentence, [](char c) { return c >= ' ' && c <= '~'; }), "a refusal is printable");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int kErrors[] = {X509_V_OK, X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_CERT_HAS_EXPIRED,
                             X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_INVALID_PURPOSE};
  fuzz::Input input(data, size);
  const int error = kErrors[input.byte() % std::size(kErrors)];
  const std::string_view text = input.rest();
  if (const auto pin = parse_pin(text)) check(parse_pin(pin_of(*pin)) == pin, "a pin is read as it was written");
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const std::unique_ptr<X509, Freed> certificate(d2i_X509(nullptr, &bytes, static_cast<long>(text.size())));
  if (certificate) check_sentence(certificate.get(), error);
  return 0;
}
