#include "datagram_origin.h"

#include "plugin/instance.h"

namespace portolan {

DatagramOrigin::~DatagramOrigin() {
  if (instance_) instance_->datagram_sessions.leave(*this);
  for (Instance* instance : earlier_) instance->datagram_sessions.leave(*this);
}

void DatagramOrigin::point_to(Instance* instance) noexcept {
  if (instance_ && instance_ != instance) earlier_.push_back(instance_);
  instance_ = instance;
}

bool DatagramOrigin::take(const DatagramBatch::Received& datagram) noexcept {
  DatagramSession* session = instance_->datagram_sessions.find(datagram.from);
  for (auto earlier = earlier_.begin(); !session && earlier != earlier_.end(); ++earlier)
    session = (*earlier)->datagram_sessions.find(datagram.from);
  if (!session) session = instance_->datagram_sessions.begin(datagram.from, *this);
  if (!session || session->transport() != transport_) return false;
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
  session->origin = this;
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
