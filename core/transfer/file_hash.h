// The SHA-256 of a file while it goes by, with the digest of what has gone by so far at any point.
//
// The one hash of a transfer. A file travels from its beginning to its end, so the digest of a prefix says at once that all
// of it is right, and that of the whole is what `sha256sum FILE` prints. SHA-256 and not BLAKE2b: processors of today have
// instructions for it, x86 and ARMv8 alike (1.4 against 0.8 GB/s here), and OpenSSL has vector code for the others.
//
// A value of one thread. Throws std::bad_alloc when it is made.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct evp_md_ctx_st;

namespace portolan::transfer {

using Digest = std::array<std::byte, 32>;
std::string to_hex(const Digest& digest);

class FileHash {
 public:
  FileHash();
  void add(std::span<const std::byte> data) noexcept;
  void add_zeros(std::uint64_t count) noexcept;
  std::uint64_t size() const noexcept { return size_; }
  Digest digest() const noexcept;  // of all so far; more may follow

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const noexcept;
  };
  using ContextPointer = std::unique_ptr<evp_md_ctx_st, Free>;
  ContextPointer running_;
  ContextPointer scratch_;
  std::uint64_t size_ = 0;
};

}  // namespace portolan::transfer
