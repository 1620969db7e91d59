#include "datagram_port.h"

#include "plugin/instance.h"

#include <cerrno>

namespace portolan {

namespace {

// Of one event, before the streams get their turn.
constexpr int kBatchesAtOnce = 4;

}  // namespace

DatagramPort::DatagramPort(Loop& loop, int descriptor, bool wildcard)
    : DatagramOrigin(Transport::udp), descriptor_(descriptor), wildcard_(wildcard) {
  event_.bind(loop, descriptor, &DatagramPort::on_event, this);
}

void DatagramPort::serve(Instance* instance) noexcept {
  point_to(instance);
  event_.want(instance ? IoEvent::kRead : 0);
}

void DatagramPort::send(DatagramSession& session, std::span<const std::byte> data) noexcept {
  session.instance.io.datagrams().send(descriptor_, data, session.peer, session.local, session);
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

}  // namespace portolan
