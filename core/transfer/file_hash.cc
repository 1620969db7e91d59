#include "transfer/file_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <new>

namespace portolan::transfer {
namespace {

constexpr std::array<std::byte, 64 * 1024> kZeros{};

}  // namespace

std::string to_hex(const Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : digest) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4U];
    text += kDigits[std::to_integer<unsigned>(byte) & 15U];
  }
  return text;
}

void FileHash::Free::operator()(evp_md_ctx_st* context) const noexcept { EVP_MD_CTX_free(context); }

FileHash::FileHash() : running_(EVP_MD_CTX_new()), scratch_(EVP_MD_CTX_new()) {
  if (!running_ || !scratch_ || EVP_DigestInit_ex(running_.get(), EVP_sha256(), nullptr) != 1 ||
      EVP_MD_CTX_copy_ex(scratch_.get(), running_.get()) != 1) {
    throw std::bad_alloc();
  }
}

void FileHash::add(std::span<const std::byte> data) noexcept {
  EVP_DigestUpdate(running_.get(), data.data(), data.size());
  size_ += data.size();
}

void FileHash::add_zeros(std::uint64_t count) noexcept {
  while (count > 0) {
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(count, kZeros.size()));
    add(std::span(kZeros).first(part));
    count -= part;
  }
}

Digest FileHash::digest() const noexcept {
  Digest digest{};
  // Its state has room for the copy already: nothing is allocated that could be lacking.
  EVP_MD_CTX_copy_ex(scratch_.get(), running_.get());
  EVP_DigestFinal_ex(scratch_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

}  // namespace portolan::transfer
