#include "datagram_port.h"

#include "plugin/instance.h"

#include <algorithm>
#include <cerrno>

namespace portolan {

namespace {

// Of one event, before the streams get their turn.
constexpr int kBatchesAtOnce = 4;

}  // namespace

DatagramPort::DatagramPort(Loop& loop, int descriptor, bool wildcard) : descriptor_(descriptor), wildcard_(wildcard) {
  event_.bind(loop, descriptor, &DatagramPort::on_event, this);
}

DatagramPort::~DatagramPort() {
  if (instance_) instance_->datagram_sessions.leave(*this);
  for (Instance* instance : earlier_) instance->datagram_sessions.leave(*this);
}

void DatagramPort::serve(Instance* instance) noexcept {
  if (instance_ && instance_ != instance) earlier_.push_back(instance_);
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
  WorkerIo& io = instance_->io;
  const Duration hook_time = instance_->hook_time();
  for (int round = 0; round < kBatchesAtOnce; ++round) {
    // Slow hooks: the streams get their turn after one batch.
    if (instance_->hook_time() - hook_time > WorkerIo::kTurn) return;
    using Addresses = DatagramBatch::Addresses;
    const auto reception = io.datagrams().receive(descriptor_, wildcard_ ? Addresses::from_and_to : Addresses::from);
    if (reception.datagrams.empty()) return;
    const Duration began = io.tick();
    std::uint32_t handled = 0;
    for (const auto& datagram : reception.datagrams) handled += take(datagram);
    // In a turn of the loop links may have received before: what they have queued has left now, too.
    io.datagrams().flush_and_free();
    if (instance_->statistics && handled) {
      const auto spent = Loop::now() - began;
      instance_->stats.latency.record(static_cast<std::uint64_t>(spent.count()), handled);
    }
    if (!reception.more) return;
  }
}

// False: refused.
bool DatagramPort::take(const DatagramBatch::Received& datagram) noexcept {
  DatagramSession* session = instance_->datagram_sessions.find(datagram.from);
  for (auto earlier = earlier_.begin(); !session && earlier != earlier_.end(); ++earlier)
    session = (*earlier)->datagram_sessions.find(datagram.from);
  if (!session) session = instance_->datagram_sessions.begin(datagram.from, *this);
  if (!session) return false;
  Instance& instance = session->instance;
  const std::size_t size = datagram.data.size();
  const Duration now = instance.io.now();
  if (session->client) {
    if (instance.message_rate.limited() &&
        instance.message_rate.take(session->client->messages, now, 1) > Duration::zero()) {
      instance.refuse(Refusal::message_rate, datagram.from, Instance::Blame::datagram);
      return false;
    }
    if (instance.byte_rate.limited() &&
        instance.byte_rate.take(session->client->bytes, now, static_cast<double>(size)) > Duration::zero()) {
      instance.refuse(Refusal::byte_rate, datagram.from, Instance::Blame::datagram);
      return false;
    }
    if (const LimitSet* set = instance.limit_set.get()) {
      // Whatever it is to be over the limit: a datagram can only be dropped.
      if (const LimitVerdict over = set->message(session->client->states_of(*set), now, size)) {
        instance.refuse(over.rule->refusal(), datagram.from,
                        Instance::blame_for(*over.rule, Instance::Blame::datagram));
        return false;
      }
    }
  }
  session->port = this;
  session->local = datagram.to;
  session->last_activity = now;
  instance.peers.touch(*session, now);
  ++session->messages;
  session->bytes_in += size;
  if (instance.statistics) {
    instance.stats[CoreCounter::messages].add();
    instance.stats[CoreCounter::bytes_in].add(size);
    instance.stats.message_size.record(size);
  }
  instance.service->on_datagram(*session, datagram.data);
  return true;
}

}  // namespace portolan
