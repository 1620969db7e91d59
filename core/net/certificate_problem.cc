#include "certificate_problem.h"

#include "base/clock.h"
#include "net/certificate_time.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include <arpa/inet.h>

namespace portolan {

namespace {

constexpr std::size_t kShownNames = 3;
constexpr std::size_t kShownBytes = 100;  // of one name
constexpr std::size_t kBase64Size = 44;   // of 32 bytes

struct Freed {
  void operator()(GENERAL_NAMES* names) const noexcept { GENERAL_NAMES_free(names); }
  void operator()(unsigned char* bytes) const noexcept { OPENSSL_free(bytes); }
};

std::string shown(const ASN1_STRING* text) {
  const auto size = static_cast<std::size_t>(std::max(ASN1_STRING_length(text), 0));
  std::string out(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)), std::min(size, kShownBytes));
  std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~' || c == '"'; }, '?');
  return fmt::format("\"{}\"", out);
}

std::string common_name(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  return at < 0 ? std::string() : shown(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

std::string shown_address(const ASN1_OCTET_STRING* bytes) {
  char text[INET6_ADDRSTRLEN] = "?";
  ::inet_ntop(ASN1_STRING_length(bytes) == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(bytes), text, sizeof text);
  return fmt::format("\"{}\"", text);
}

// What the certificate is for: `"nas.lan", "192.0.2.1" and 3 more`.
std::string names_of(const X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, Freed> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::string text;
  std::size_t count = 0;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    const bool host = name->type == GEN_DNS;
    const int size = name->type == GEN_IPADD ? ASN1_STRING_length(name->d.iPAddress) : 0;
    if (!host && size != 4 && size != 16) continue;
    if (++count > kShownNames) continue;
    if (count > 1) text += ", ";
    text += host ? shown(name->d.dNSName) : shown_address(name->d.iPAddress);
  }
  if (count > kShownNames) text += fmt::format(" and {} more", count - kShownNames);
  return count ? text : common_name(certificate);
}

std::string day_of(const ASN1_TIME* time) {
  const auto seconds = certificate_time(time);
  return seconds ? iso_time(*seconds).substr(0, 10) : "a day that cannot be read";
}

// What the certificate was to be for.
std::string wanted_name(X509_STORE_CTX* chain) {
  X509_VERIFY_PARAM* const wanted = X509_STORE_CTX_get0_param(chain);
  if (const char* host = X509_VERIFY_PARAM_get0_host(wanted, 0)) return host;
  const std::unique_ptr<unsigned char, Freed> address(
      reinterpret_cast<unsigned char*>(X509_VERIFY_PARAM_get1_ip_asc(wanted)));
  return address ? reinterpret_cast<const char*>(address.get()) : "";
}

}  // namespace

std::optional<PublicKeyHash> public_key_hash(const X509* certificate) noexcept {
  unsigned char* raw = nullptr;
  const int size = certificate ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &raw) : -1;
  const std::unique_ptr<unsigned char, Freed> encoded(raw);
  PublicKeyHash hash{};
  if (size <= 0 || EVP_Digest(raw, static_cast<std::size_t>(size), hash.data(), nullptr, EVP_sha256(), nullptr) != 1)
    return std::nullopt;
  return hash;
}

std::string pin_of(const PublicKeyHash& hash) {
  unsigned char text[kBase64Size + 1];
  EVP_EncodeBlock(text, hash.data(), static_cast<int>(hash.size()));
  return fmt::format("sha256/{}", reinterpret_cast<const char*>(text));
}

std::optional<PublicKeyHash> parse_pin(std::string_view pin) noexcept {
  for (const std::string_view prefix : {"sha256//", "sha256/"}) {
    if (!pin.starts_with(prefix) || pin.size() < kBase64Size + prefix.size()) continue;
    pin.remove_prefix(prefix.size());
    break;
  }
  unsigned char bytes[kBase64Size / 4 * 3];
  PublicKeyHash hash;
  if (pin.size() != kBase64Size || pin.find('=') != kBase64Size - 1 ||
      EVP_DecodeBlock(bytes, reinterpret_cast<const unsigned char*>(pin.data()), static_cast<int>(kBase64Size)) < 0)
    return std::nullopt;
  std::copy_n(bytes, hash.size(), hash.begin());
  return hash;
}

std::string certificate_problem(X509_STORE_CTX* chain) {
  const int error = X509_STORE_CTX_get_error(chain);
  const X509* const leaf = X509_STORE_CTX_get0_cert(chain);
  const X509* const current = X509_STORE_CTX_get_current_cert(chain);
  const X509* const certificate = current ? current : leaf;
  const std::string which = X509_STORE_CTX_get_error_depth(chain) == 0
                                ? "the certificate"
                                : fmt::format("the certificate of the authority {}", common_name(certificate));
  const auto pinned_instead = [&] {
    const auto hash = public_key_hash(leaf);
    return hash ? fmt::format("pin it with verify = false and pins = \"{}\"", pin_of(*hash)) : std::string("pin it");
  };
  switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: {
      const std::string names = names_of(leaf);
      return fmt::format("the certificate is for {}, not for \"{}\"", names.empty() ? "no host at all" : names,
                         wanted_name(chain));
    }
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return fmt::format("the certificate is self-signed and not trusted: give it as tls.ca, or {}", pinned_instead());
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:  // by an authority that only has the name of a trusted one
      return fmt::format(
          "the certificate was issued by an authority that is not trusted: give its certificate as tls.ca, or {}",
          pinned_instead());
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{} expired on {}: renew it", which, day_of(X509_get0_notAfter(certificate)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} is valid from {} on, and here it is {}: set this machine's clock", which,
                         day_of(X509_get0_notBefore(certificate)), iso_time(unix_ms() / 1000).substr(0, 10));
    case X509_V_ERR_INVALID_PURPOSE: return fmt::format("{} is not made for servers: issue one that is", which);
    default: return fmt::format("{} cannot be verified: {}", which, X509_verify_cert_error_string(error));
  }
}

}  // namespace portolan
