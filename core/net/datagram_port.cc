#include "datagram_port.h"

#include "base/callback.h"
#include "plugin/instance.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstring>

namespace portolan {

namespace {

// Of one event, before the streams get their turn.
constexpr int kBatchesAtOnce = 4;

}  // namespace

struct DatagramPort::Batch {
  struct Reply {
    const std::byte* view;  // null: at `offset` of `copies`
    std::size_t offset;
    std::size_t size;
    std::size_t question;
    DatagramSession* session;
  };

  Batch() : buffers(new std::byte[kBatch * kDatagram]) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors[i] = {.iov_base = buffers.get() + i * kDatagram, .iov_len = kDatagram};
      messages[i].msg_hdr = {.msg_name = &addresses[i], .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
  }

  std::unique_ptr<std::byte[]> buffers;  // touched, so resident, only as far as datagrams fill them
  std::array<sockaddr_storage, kBatch> addresses{};
  std::array<iovec, kBatch> vectors{};
  std::array<mmsghdr, kBatch> messages{};
  alignas(cmsghdr) std::array<std::array<std::byte, kControl>, kBatch> controls{};

  std::array<Reply, kReplies> replies{};
  std::size_t reply_count = 0;
  std::vector<std::byte> copies;
  std::array<iovec, kReplies> reply_vectors{};
  std::array<mmsghdr, kReplies> reply_messages{};
  std::uint32_t handled = 0;
};

// What the plugin sees during on_datagram.
class DatagramPort::Peer final : public DatagramPeer {
 public:
  Peer(DatagramPort& port, std::size_t index, DatagramSession& session)
      : port_(port), index_(index), session_(session) {}
  void reply(std::span<const std::byte> data) noexcept override { port_.reply(index_, session_, data); }
  void refuse(Refusal reason) noexcept override {
    port_.instance_->refuse(reason, session_.peer, Instance::Blame::datagram);
  }
  void attach(DatagramHandler&) noexcept override {}
  DatagramHandler* handler() const noexcept override { return nullptr; }
  void end() noexcept override {}
  SessionInfo info() const noexcept override {
    if (text_.empty()) text_ = session_.peer.to_string();
    return {.id = session_.id, .peer = text_, .transport = Transport::udp};
  }

 private:
  DatagramPort& port_;
  std::size_t index_;
  DatagramSession& session_;
  mutable std::string text_;
};

DatagramPort::DatagramPort(Loop& loop, int descriptor, bool pktinfo) : descriptor_(descriptor), pktinfo_(pktinfo) {
  event_.bind(loop, descriptor, &DatagramPort::on_event, this);
}

DatagramPort::~DatagramPort() = default;

void DatagramPort::serve(Instance* instance) noexcept {
  instance_ = instance;
  event_.want(instance ? IoEvent::kRead : 0);
}

void DatagramPort::on_event(int, short, void* self) noexcept {
  auto& port = *static_cast<DatagramPort*>(self);
  WorkerIo& io = port.instance_->io;
  port.read_batches();
  io.settle();
}

void DatagramPort::read_batches() noexcept {
  if (!batch_ && !contain("reading datagrams", [this] { batch_ = std::make_unique<Batch>(); })) return;
  const Duration hook_time = instance_->hook_time();
  for (int round = 0; round < kBatchesAtOnce; ++round) {
    // Slow hooks: the streams get their turn after one batch.
    if (instance_->hook_time() - hook_time > WorkerIo::kTurn) return;
    for (std::size_t i = 0; i < kBatch; ++i) {
      msghdr& header = batch_->messages[i].msg_hdr;
      header.msg_namelen = sizeof(sockaddr_storage);
      header.msg_control = pktinfo_ ? batch_->controls[i].data() : nullptr;
      header.msg_controllen = pktinfo_ ? kControl : 0;
    }
    const int count = recvmmsg(descriptor_, batch_->messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (count <= 0) return;
    const Duration began = instance_->io.tick();
    batch_->handled = 0;
    for (int i = 0; i < count; ++i) take(static_cast<std::size_t>(i));
    send_replies();
    if (instance_->statistics && batch_->handled) {
      const auto spent = Loop::now() - began;
      instance_->stats.latency.record(static_cast<std::uint64_t>(spent.count()), batch_->handled);
    }
    if (static_cast<std::size_t>(count) < kBatch) return;
  }
}

void DatagramPort::take(std::size_t index) noexcept {
  const mmsghdr& message = batch_->messages[index];
  const Address peer = Address::from(reinterpret_cast<const sockaddr*>(&batch_->addresses[index]));
  DatagramSession* session = instance_->datagram_sessions.find_or_begin(peer);
  if (!session) return;
  const std::size_t size = message.msg_len;
  const Duration now = instance_->io.now();
  if (session->client) {
    if (instance_->message_rate.limited() &&
        instance_->message_rate.take(session->client->messages, now, 1) > Duration::zero())
      return instance_->refuse(Refusal::message_rate, peer, Instance::Blame::datagram);
    if (instance_->byte_rate.limited() &&
        instance_->byte_rate.take(session->client->bytes, now, static_cast<double>(size)) > Duration::zero())
      return instance_->refuse(Refusal::byte_rate, peer, Instance::Blame::datagram);
    if (const LimitSet* set = instance_->limit_set.get()) {
      // Whatever it is to be over the limit: a datagram can only be dropped.
      if (const LimitVerdict over = set->message(session->client->states_of(*set), now, size))
        return instance_->refuse(over.rule->refusal(), peer,
                                 Instance::blame_for(*over.rule, Instance::Blame::datagram));
    }
  }
  session->last_activity = now;
  instance_->peers.touch(*session, now);
  ++session->messages;
  session->bytes_in += size;
  ++batch_->handled;
  if (instance_->statistics) {
    instance_->stats[CoreCounter::messages].add();
    instance_->stats[CoreCounter::bytes_in].add(size);
    instance_->stats.message_size.record(size);
  }
  Peer handle(*this, index, *session);
  instance_->service->on_datagram(handle, {batch_->buffers.get() + index * kDatagram, size});
}

void DatagramPort::reply(std::size_t index, DatagramSession& session, std::span<const std::byte> data) noexcept {
  if (batch_->reply_count == kReplies) send_replies();
  const std::byte* buffer = batch_->buffers.get() + index * kDatagram;
  const bool of_question = data.data() >= buffer && data.data() < buffer + kDatagram;
  auto& reply = batch_->replies[batch_->reply_count++];
  reply = {.view = of_question ? data.data() : nullptr,
           .offset = batch_->copies.size(),
           .size = data.size(),
           .question = index,
           .session = &session};
  if (!of_question) batch_->copies.insert(batch_->copies.end(), data.begin(), data.end());
}

void DatagramPort::send_replies() noexcept {
  Batch& batch = *batch_;
  for (std::size_t i = 0; i < batch.reply_count; ++i) {
    const auto& reply = batch.replies[i];
    const auto* data = reply.view ? reply.view : batch.copies.data() + reply.offset;
    batch.reply_vectors[i] = {.iov_base = const_cast<std::byte*>(data), .iov_len = reply.size};
    const msghdr& question = batch.messages[reply.question].msg_hdr;
    batch.reply_messages[i].msg_hdr = {.msg_name = question.msg_name,
                                       .msg_namelen = question.msg_namelen,
                                       .msg_iov = &batch.reply_vectors[i],
                                       .msg_iovlen = 1};
    // The control message that recvmsg filled is what sendmsg takes: leave from that address.
    if (pktinfo_ && question.msg_controllen) {
      batch.reply_messages[i].msg_hdr.msg_control = question.msg_control;
      batch.reply_messages[i].msg_hdr.msg_controllen = question.msg_controllen;
    }
  }
  std::size_t sent = 0;
  while (sent < batch.reply_count) {
    const int count = sendmmsg(descriptor_, batch.reply_messages.data() + sent,
                               static_cast<unsigned>(batch.reply_count - sent), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      for (int i = 0; i < count; ++i, ++sent) {
        const auto& reply = batch.replies[sent];
        reply.session->bytes_out += reply.size;
        if (instance_->statistics) instance_->stats[CoreCounter::bytes_out].add(reply.size);
      }
      continue;
    }
    if (errno == EINTR) continue;
    // A datagram that cannot be sent is lost, as on any link, and counted: waiting would hold up the others.
    if (errno == EAGAIN || errno == ENOBUFS) {
      for (; sent < batch.reply_count; ++sent)
        instance_->refuse(Refusal::output_limit, batch.replies[sent].session->peer);
      break;
    }
    instance_->stats[CoreCounter::failed].add();
    ++sent;
  }
  batch.reply_count = 0;
  batch.copies.clear();
}

}  // namespace portolan
