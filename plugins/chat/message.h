// A message as it is sent: immutable, made once in each format, and shared by all who receive it, on all workers.
//
// Counted by reference (MessageRef); any thread. One allocation holds it whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace portolan::chat {

enum class Format : std::uint8_t { text, json };

class MessageRef;

class Message {
 public:
  // `sender`: the id of the user who is not to get it back; 0: the service. Throws std::bad_alloc.
  static MessageRef make(std::uint64_t sender, std::string_view text, std::string_view json);

  std::uint64_t sender() const noexcept { return sender_; }
  // The whole line, its end included.
  std::string_view line(Format format) const noexcept {
    return format == Format::text ? std::string_view(bytes(), text_size_)
                                  : std::string_view(bytes() + text_size_, json_size_);
  }
  std::size_t size() const noexcept { return sizeof(Message) + text_size_ + json_size_; }

 private:
  friend class MessageRef;
  friend class History;
  Message(std::uint64_t sender, std::size_t text_size, std::size_t json_size) noexcept
      : sender_(sender),
        text_size_(static_cast<std::uint32_t>(text_size)),
        json_size_(static_cast<std::uint32_t>(json_size)) {}
  const char* bytes() const noexcept { return reinterpret_cast<const char*>(this + 1); }
  void drop() const noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    this->~Message();
    ::operator delete(const_cast<Message*>(this));
  }

  mutable std::atomic<std::uint32_t> references_{1};
  const std::uint64_t sender_;
  const std::uint32_t text_size_;
  const std::uint32_t json_size_;
  mutable const Message* next_{};  // History's: a message is in one at most
};

class MessageRef {
 public:
  MessageRef() = default;
  MessageRef(const MessageRef& other) noexcept : message_(other.message_) {
    if (message_) message_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  MessageRef(MessageRef&& other) noexcept : message_(std::exchange(other.message_, nullptr)) {}
  MessageRef& operator=(MessageRef other) noexcept {
    std::swap(message_, other.message_);
    return *this;
  }
  ~MessageRef() {
    if (message_) message_->drop();
  }
  const Message* operator->() const noexcept { return message_; }
  const Message& operator*() const noexcept { return *message_; }
  explicit operator bool() const noexcept { return message_ != nullptr; }
  // The reference without its holder, and back.
  const Message* release() noexcept { return std::exchange(message_, nullptr); }
  static MessageRef adopt(const Message* message) noexcept {
    MessageRef held;
    held.message_ = message;
    return held;
  }

 private:
  const Message* message_ = nullptr;
};

inline MessageRef Message::make(std::uint64_t sender, std::string_view text, std::string_view json) {
  void* memory = ::operator new(sizeof(Message) + text.size() + json.size());
  auto* message = new (memory) Message(sender, text.size(), json.size());
  char* bytes = reinterpret_cast<char*>(message + 1);
  std::memcpy(bytes, text.data(), text.size());
  if (!json.empty()) std::memcpy(bytes + text.size(), json.data(), json.size());
  return MessageRef::adopt(message);
}

}  // namespace portolan::chat
