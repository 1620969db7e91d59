#include "datagram_batch.h"

#include "base/callback.h"
#include "net/packet_info.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace portolan {

namespace {

using Control = std::array<std::byte, kPacketInfoRoom>;

}  // namespace

struct DatagramBatch::Slots {
  std::unique_ptr<std::byte[]> buffers{new std::byte[kSlots * kDatagram]};
  std::array<sockaddr_storage, kSlots> addresses;
  std::array<iovec, kSlots> vectors;
  std::array<mmsghdr, kSlots> messages;
  alignas(cmsghdr) std::array<Control, kSlots> controls;
  std::array<Received, kSlots> received;

  bool holds(const std::byte* data) const noexcept {
    return data >= buffers.get() && data < buffers.get() + kSlots * kDatagram;
  }
};

struct DatagramBatch::Outgoing {
  int descriptor;
  const std::byte* view;  // null: at `offset` of the copies
  std::size_t offset;
  std::size_t size;
  Address to;
  Address from;
  DatagramSender* sender;
};

DatagramBatch::DatagramBatch(Loop& loop)
    : flush_soon_(loop, [this] {
        flush_and_free();
        tell_failures();
      }) {}
DatagramBatch::~DatagramBatch() = default;

DatagramBatch::Reception DatagramBatch::receive(int descriptor, Addresses wanted, std::size_t most) noexcept {
  if (!slots_ && !contain("receiving datagrams", [this] { slots_ = std::make_unique<Slots>(); }))
    return {.error_number = ENOMEM};
  if (used_ == kSlots) return {.error_number = EAGAIN};
  Slots& slots = *slots_;
  const std::size_t first = used_;
  most = std::min(most, kSlots - first);
  for (std::size_t i = first; i < first + most; ++i) {
    slots.vectors[i] = {.iov_base = slots.buffers.get() + i * kDatagram, .iov_len = kDatagram};
    slots.messages[i].msg_hdr = {.msg_iov = &slots.vectors[i], .msg_iovlen = 1};
    msghdr& header = slots.messages[i].msg_hdr;
    if (wanted != Addresses::none) {
      header.msg_name = &slots.addresses[i];
      header.msg_namelen = sizeof slots.addresses[i];
    }
    if (wanted == Addresses::from_and_to) {
      header.msg_control = slots.controls[i].data();
      header.msg_controllen = kPacketInfoRoom;
    }
  }
  const int count = recvmmsg(descriptor, &slots.messages[first], static_cast<unsigned>(most), MSG_DONTWAIT, nullptr);
  if (count <= 0) return {.error_number = count < 0 ? errno : EAGAIN};
  used_ += static_cast<std::size_t>(count);
  for (std::size_t i = first; i < used_; ++i) {
    Received& one = slots.received[i];
    one.data = {slots.buffers.get() + i * kDatagram, slots.messages[i].msg_len};
    if (wanted != Addresses::none) one.from = Address::from(reinterpret_cast<const sockaddr*>(&slots.addresses[i]));
    if (wanted == Addresses::from_and_to) one.to = local_address(slots.messages[i].msg_hdr);
  }
  // The slots are free again at the next flush, and there must be one.
  if (queue_.empty()) flush_soon_.run_soon();
  return {.datagrams = std::span<const Received>(slots.received).subspan(first, used_ - first),
          .more = static_cast<std::size_t>(count) == most};
}

void DatagramBatch::send(int descriptor, std::span<const std::byte> data, const Address& to, const Address& from,
                         DatagramSender& sender) noexcept {
  if (queue_.size() == kQueue) flush();
  const bool view = slots_ && slots_->holds(data.data());
  contain("sending a datagram", [&] {
    if (queue_.capacity() == 0) queue_.reserve(kQueue);
    const std::size_t offset = copies_.size();
    if (!view) copies_.insert(copies_.end(), data.begin(), data.end());
    queue_.push_back({descriptor, view ? data.data() : nullptr, offset, data.size(), to, from, &sender});
  });
  flush_soon_.run_soon();
}

void DatagramBatch::withdraw(const DatagramSender& sender) noexcept {
  if (std::ranges::find(queue_, &sender, &Outgoing::sender) != queue_.end()) flush();
  for (Failure& failure : failures_)
    if (failure.sender == &sender) failure.sender = nullptr;
}

void DatagramBatch::tell_failures() noexcept {
  // By number: one that is told may add to the list, or take others out of it.
  for (std::size_t i = 0; i < failures_.size(); ++i)
    if (DatagramSender* sender = std::exchange(failures_[i].sender, nullptr))
      sender->not_sent(failures_[i].error_number);
  failures_.clear();
}

void DatagramBatch::flush() noexcept {
  for (std::size_t first = 0; first < queue_.size();) {
    std::size_t last = first + 1;
    while (last < queue_.size() && queue_[last].descriptor == queue_[first].descriptor) ++last;
    send_run(first, last - first);
    first = last;
  }
  queue_.clear();
  copies_.clear();
}

void DatagramBatch::flush_and_free() noexcept {
  flush();
  used_ = 0;
}

void DatagramBatch::send_run(std::size_t first, std::size_t count) noexcept {
  const int descriptor = queue_[first].descriptor;
  const auto data_of = [this](const Outgoing& one) { return one.view ? one.view : copies_.data() + one.offset; };
  if (Outgoing& one = queue_[first]; count == 1 && one.to.empty() && one.from.empty()) {
    const ssize_t sent = ::send(descriptor, data_of(one), one.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return passed(one, sent < 0 ? errno : 0);
  }
  std::array<mmsghdr, kQueue> messages;
  std::array<iovec, kQueue> vectors;
  std::array<sockaddr_storage, kQueue> addresses;
  alignas(cmsghdr) std::array<Control, kQueue> controls;
  for (std::size_t i = 0; i < count; ++i) {
    const Outgoing& one = queue_[first + i];
    vectors[i] = {.iov_base = const_cast<std::byte*>(data_of(one)), .iov_len = one.size};
    messages[i].msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1};
    msghdr& header = messages[i].msg_hdr;
    if (!one.to.empty()) {
      header.msg_namelen = one.to.to_sockaddr(addresses[i]);
      header.msg_name = &addresses[i];
    }
    if (!one.from.empty()) {
      header.msg_controllen = put_source(controls[i], one.from);
      header.msg_control = controls[i].data();
    }
  }
  for (std::size_t done = 0; done < count;) {
    const int taken =
        sendmmsg(descriptor, &messages[done], static_cast<unsigned>(count - done), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken < 0) {
      if (errno == EINTR) continue;
      passed(queue_[first + done++], errno);
      continue;
    }
    for (int i = 0; i < taken; ++i) passed(queue_[first + done++], 0);
  }
}

void DatagramBatch::passed(Outgoing& one, int error_number) noexcept {
  if (error_number == 0) return one.sender->sent(one.size);
  contain("a datagram that was not sent", [&] { failures_.push_back({one.sender, error_number}); });
  flush_soon_.run_soon();
}

}  // namespace portolan
