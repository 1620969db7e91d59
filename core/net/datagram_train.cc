#include "datagram_train.h"

#include "net/packet_info.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace portolan {

namespace {

// UDP_MAX_SEGMENTS; 128 since Linux 6.9.
constexpr std::size_t kMostSegments = 64;
// With all headers it stays below 64 KiB, from which on the kernel cuts it up at once (gso_max_size; 65,507 are allowed).
constexpr std::size_t kMostBytes = 65'000;

bool of_this_datagram(int error_number) noexcept {
  return error_number == EINVAL || error_number == EIO || error_number == EMSGSIZE || error_number == ENOPROTOOPT ||
         error_number == EOPNOTSUPP;
}

}  // namespace

// ---- Sending ----

struct TrainSender::Outgoing {
  std::array<mmsghdr, kMessages> messages;
  std::array<iovec, kMessages> vectors;
  std::array<sockaddr_storage, kTrains> addresses;
  alignas(cmsghdr) std::array<std::array<std::byte, kControl>, kMessages> controls;
};

std::span<std::byte> TrainSender::room() noexcept {
  if (empty()) used_ = first_ = count_ = 0;
  if (!arena_) arena_.reset(new (std::nothrow) std::byte[kArena]);
  if (!arena_ || count_ == kTrains || kArena - used_ < kTrain) return {};
  return {arena_.get() + used_, kTrain};
}

void TrainSender::add(const rudp::Train& train) noexcept {
  const std::span<std::byte> place = room();
  if (place.empty() || train.data.empty() || train.data.size() > kTrain) return;
  std::span<const std::byte> data = train.data;
  if (data.data() < place.data() || data.data() + data.size() > place.data() + place.size()) {
    std::memcpy(place.data(), data.data(), data.size());
    data = place.first(data.size());
  }
  used_ = static_cast<std::size_t>(data.data() + data.size() - arena_.get());
  trains_[count_++] = {.to = train.to,
                       .from = train.from,
                       .data = data,
                       .segment = train.segment ? train.segment : data.size(),
                       .single = false,
                       .retried = false};
}

// How much of it goes as one message.
std::size_t TrainSender::piece(const Waiting& train) const noexcept {
  const std::size_t most = segments_ && !train.single
                               ? std::clamp(kMostBytes / train.segment, std::size_t{1}, kMostSegments) * train.segment
                               : train.segment;
  return std::min(train.data.size(), most);
}

std::size_t TrainSender::prepare(Outgoing& out) noexcept {
  std::size_t count = 0;
  for (std::size_t i = first_; i < count_ && count < kMessages; ++i) {
    Waiting train = trains_[i];
    sockaddr_storage& address = out.addresses[i - first_];
    const socklen_t length = train.to.empty() ? 0 : train.to.to_sockaddr(address);
    for (; !train.data.empty() && count < kMessages; ++count) {
      const std::size_t size = piece(train);
      out.vectors[count] = {.iov_base = const_cast<std::byte*>(train.data.data()), .iov_len = size};
      msghdr& header = out.messages[count].msg_hdr;
      header = {.msg_iov = &out.vectors[count], .msg_iovlen = 1};
      if (length) {
        header.msg_name = &address;
        header.msg_namelen = length;
      }
      const std::span<std::byte> control = out.controls[count];
      std::size_t used = 0;
      if (size > train.segment)
        used += put_control(control, SOL_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(train.segment));
      if (!train.from.empty()) used += put_source(control.subspan(used), train.from);
      if (used) {
        header.msg_control = control.data();
        header.msg_controllen = used;
      }
      train.data = train.data.subspan(size);
    }
  }
  return count;
}

void TrainSender::took(std::size_t bytes) noexcept {
  Waiting& train = trains_[first_];
  train.data = train.data.subspan(bytes);
  train.retried = false;
  if (train.data.empty()) ++first_;
}

TrainSender::Result TrainSender::flush() noexcept {
  Outgoing out;
  while (!empty()) {
    const std::size_t count = prepare(out);
    const int sent =
        sendmmsg(descriptor_, out.messages.data(), static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (const Result result = failed(errno); result != Result::sent) return result;
      continue;
    }
    for (int i = 0; i < sent; ++i) {
      const bool proves = trains_[first_].single;
      took(out.vectors[static_cast<std::size_t>(i)].iov_len);
      // It went as single datagrams and had not gone as a train: so it will be with the others.
      if (proves) segments_ = false;
    }
  }
  return Result::sent;
}

// Of the first message that waits.
TrainSender::Result TrainSender::failed(int error_number) noexcept {
  if (error_number == EAGAIN || error_number == EWOULDBLOCK) return Result::full;
  if (error_number == ENOBUFS || error_number == ENOMEM) return Result::busy;
  Waiting& train = trains_[first_];
  const std::size_t size = piece(train);
  if (of_this_datagram(error_number) && size > train.segment) {
    // The system takes no trains; or none of this segment, which single datagrams will say more clearly.
    train.single = true;
    return Result::sent;
  }
  if (error_number == EMSGSIZE) {
    trouble_.on_too_long(train.to, train.segment);
    ++first_;
    return Result::sent;
  }
  // Mostly it is what ICMP has said of another datagram, which this call has only fetched.
  if (!train.retried) {
    train.retried = true;
    return Result::sent;
  }
  trouble_.on_unreachable(train.to, error_number);
  ++first_;  // lost, as on any link
  return Result::sent;
}

// ---- Receiving ----

struct TrainReader::Slots {
  static constexpr std::size_t kCount = 16;
  static constexpr std::size_t kSize = 64 * 1024;
  static constexpr std::size_t kControl = CMSG_SPACE(sizeof(int)) + kPacketInfoRoom;
  // Resident only as far as datagrams fill them.
  std::unique_ptr<std::byte[]> buffers{new std::byte[kCount * kSize]};
  std::array<sockaddr_storage, kCount> addresses;
  std::array<iovec, kCount> vectors;
  std::array<mmsghdr, kCount> messages;
  alignas(cmsghdr) std::array<std::array<std::byte, kControl>, kCount> controls;
  std::array<Received, kCount> received;

  static std::shared_ptr<Slots> of_this_thread() {
    static thread_local std::weak_ptr<Slots> shared;
    auto slots = shared.lock();
    if (!slots) shared = slots = std::make_shared<Slots>();
    return slots;
  }
};

TrainReader::TrainReader(int descriptor, bool with_local)
    : descriptor_(descriptor), with_local_(with_local), slots_(Slots::of_this_thread()) {}
TrainReader::~TrainReader() = default;

TrainReader::Reception TrainReader::receive() noexcept {
  Slots& slots = *slots_;
  for (std::size_t i = 0; i < Slots::kCount; ++i) {
    slots.vectors[i] = {.iov_base = slots.buffers.get() + i * Slots::kSize, .iov_len = Slots::kSize};
    slots.messages[i].msg_hdr = {.msg_name = &slots.addresses[i],
                                 .msg_namelen = sizeof slots.addresses[i],
                                 .msg_iov = &slots.vectors[i],
                                 .msg_iovlen = 1,
                                 .msg_control = slots.controls[i].data(),
                                 .msg_controllen = Slots::kControl};
  }
  const int count = recvmmsg(descriptor_, slots.messages.data(), Slots::kCount, MSG_DONTWAIT, nullptr);
  if (count <= 0) return {.error_number = count < 0 ? errno : EAGAIN};
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    Received& one = slots.received[i];
    msghdr& header = slots.messages[i].msg_hdr;
    one.data = {slots.buffers.get() + i * Slots::kSize, slots.messages[i].msg_len};
    one.from = Address::from(reinterpret_cast<const sockaddr*>(&slots.addresses[i]));
    one.to = with_local_ ? local_address(header) : Address();
    one.segment = one.data.size();
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item; item = CMSG_NXTHDR(&header, item)) {
      if (item->cmsg_level != SOL_UDP || item->cmsg_type != UDP_GRO) continue;
      int segment = 0;
      std::memcpy(&segment, CMSG_DATA(item), sizeof segment);
      if (segment > 0) one.segment = static_cast<std::size_t>(segment);
    }
  }
  return {.trains = std::span<const Received>(slots.received).first(static_cast<std::size_t>(count)),
          .more = static_cast<std::size_t>(count) == Slots::kCount};
}

void TrainReader::read_errors(TrainTrouble& trouble) noexcept {
  for (int count = 0; count < 64; ++count) {
    sockaddr_storage address{};
    alignas(cmsghdr) std::array<std::byte, 512> control;
    msghdr header{.msg_name = &address,
                  .msg_namelen = sizeof address,
                  .msg_control = control.data(),
                  .msg_controllen = control.size()};
    if (recvmsg(descriptor_, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item; item = CMSG_NXTHDR(&header, item)) {
      const bool v4 = item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_RECVERR;
      const bool v6 = item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_RECVERR;
      if (!v4 && !v6) continue;
      sock_extended_err error;
      std::memcpy(&error, CMSG_DATA(item), sizeof error);
      // What this system itself says comes back from sendmmsg as well; and the path's MTU is found by probing it.
      if (error.ee_origin == SO_EE_ORIGIN_LOCAL || error.ee_errno == EMSGSIZE) continue;
      trouble.on_unreachable(Address::from(reinterpret_cast<const sockaddr*>(&address)),
                             static_cast<int>(error.ee_errno));
    }
  }
}

}  // namespace portolan
