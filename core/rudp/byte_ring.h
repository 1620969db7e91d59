// A window of a byte stream, by absolute offsets, in a ring that grows to a power of two as it is needed.
//
// Whoever uses it keeps account of which of its bytes are there. Nothing is allocated while the window does not grow.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace portolan::rudp {

class ByteRing {
 public:
  std::uint64_t begin() const noexcept { return begin_; }
  std::size_t capacity() const noexcept { return capacity_; }

  // Copies `data` to `offset`, which is not below begin(). The ring grows when it has to: throws std::bad_alloc.
  void put(std::uint64_t offset, std::span<const std::byte> data) {
    if (data.empty()) return;
    reserve(offset + data.size() - begin_);
    const std::size_t at = offset & (capacity_ - 1);
    const std::size_t first = std::min(data.size(), capacity_ - at);
    std::memcpy(bytes_.get() + at, data.data(), first);
    if (first < data.size()) std::memcpy(bytes_.get(), data.data() + first, data.size() - first);
  }

  void copy_to(std::span<std::byte> out, std::uint64_t offset) const noexcept {
    if (out.empty()) return;
    const std::size_t at = offset & (capacity_ - 1);
    const std::size_t first = std::min(out.size(), capacity_ - at);
    std::memcpy(out.data(), bytes_.get() + at, first);
    if (first < out.size()) std::memcpy(out.data() + first, bytes_.get(), out.size() - first);
  }

  // The bytes [begin(), end) as far as they lie in one piece.
  std::span<const std::byte> front(std::uint64_t end) const noexcept {
    if (end == begin_) return {};
    const std::size_t at = begin_ & (capacity_ - 1);
    return {bytes_.get() + at, std::min(static_cast<std::size_t>(end - begin_), capacity_ - at)};
  }

  void drop_below(std::uint64_t offset) noexcept { begin_ = offset; }
  void free() noexcept {
    bytes_.reset();
    capacity_ = 0;
  }

 private:
  void reserve(std::uint64_t size) {
    if (size <= capacity_) return;
    const std::size_t grown = std::bit_ceil(std::max<std::size_t>(size, kSmallest));
    std::unique_ptr<std::byte[]> bytes(new std::byte[grown]);
    // Every byte of the old ring keeps its offset.
    for (std::size_t done = 0; done < capacity_;) {
      const std::uint64_t offset = begin_ + done;
      const std::size_t from = offset & (capacity_ - 1);
      const std::size_t to = offset & (grown - 1);
      const std::size_t length = std::min({capacity_ - done, capacity_ - from, grown - to});
      std::memcpy(bytes.get() + to, bytes_.get() + from, length);
      done += length;
    }
    bytes_ = std::move(bytes);
    capacity_ = grown;
  }

  static constexpr std::size_t kSmallest = 4096;
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t capacity_ = 0;
  std::uint64_t begin_ = 0;
};

}  // namespace portolan::rudp
