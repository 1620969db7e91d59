#include "datagram_sessions.h"

#include "base/callback.h"
#include "base/clock.h"
#include "net/datagram_origin.h"
#include "net/session_status.h"
#include "plugin/instance.h"

#include <cerrno>
#include <utility>

namespace portolan {

// ---- One session ---------------------------------------------------------------------------------------------

DatagramSession::DatagramSession(Instance& owner, DatagramOrigin& from, const Address& address,
                                 ClientEntry* counted) noexcept
    : instance(owner),
      origin(&from),
      transport_(from.transport()),
      peer(address),
      client(counted),
      id(owner.io.next_session_id()),
      started(owner.io.now()),
      last_activity(started) {}

DatagramSession::~DatagramSession() = default;

void DatagramSession::reply(std::span<const std::byte> data) noexcept {
  if (origin) origin->send(*this, data);
}

void DatagramSession::refuse(Refusal reason) noexcept { instance.refuse(reason, peer, Instance::Blame::datagram); }

void DatagramSession::end() noexcept { instance.datagram_sessions.end(*this); }

SessionInfo DatagramSession::info() const noexcept {
  if (!peer_text_) peer_text_ = std::make_unique<std::string>(peer.to_string());
  return {.id = id, .peer = *peer_text_, .transport = transport_};
}

void DatagramSession::sent(std::size_t bytes) noexcept {
  bytes_out += bytes;
  last_activity = instance.io.now();
  instance.peers.touch(*this, last_activity);
  if (instance.statistics) instance.stats[CoreCounter::bytes_out].add(bytes);
}

void DatagramSession::not_sent(int error_number) noexcept {
  if (error_number == EAGAIN || error_number == ENOBUFS) return instance.refuse(Refusal::output_limit, peer);
  instance.stats[CoreCounter::failed].add();
}

// ---- All of them ---------------------------------------------------------------------------------------------

DatagramSession* DatagramSessions::find(const Address& peer) noexcept {
  if (latest_ && latest_->peer == peer) return latest_;
  const auto found = sessions_.find(peer);
  return found == sessions_.end() ? nullptr : latest_ = found->second.get();
}

DatagramSession* DatagramSessions::begin(const Address& peer, DatagramOrigin& origin) noexcept {
  // Whoever is turned away takes nobody's place.
  const std::uint32_t most = instance_.limits.max_sessions;
  if (instance_.configuration.plugin->replaces_peers && most && instance_.peers.first() &&
      instance_.shared->open.load(std::memory_order_relaxed) >= most && !instance_.banned(peer))
    end(static_cast<DatagramSession&>(*instance_.peers.first()));
  const auto admission = instance_.admit_session(peer, Instance::Blame::datagram);
  if (!admission.admitted) return nullptr;
  DatagramSession* session = nullptr;
  if (!contain("a new session", [&] {
        auto made = std::make_unique<DatagramSession>(instance_, origin, peer, admission.client);
        session = made.get();
        sessions_.emplace(peer, std::move(made));
      })) {
    instance_.session_ended(admission.client);
    return nullptr;
  }
  instance_.peers.add(*session, session->started);
  instance_.arm_timeouts();
  return latest_ = session;
}

void DatagramSessions::end(DatagramSession& session) noexcept {
  instance_.io.datagrams().withdraw(session);
  instance_.peers.remove(session);
  if (instance_.recorder && instance_.recorder->wants_session()) {
    const std::int64_t now = unix_ms();
    instance_.recorder->session({.id = session.id,
                                 .service = instance_.configuration.name,
                                 .peer = session.peer.to_string(),
                                 .transport = session.transport_,
                                 .started_ms = now - to_ms(instance_.io.now() - session.started),
                                 .ended_ms = now - to_ms(instance_.io.now() - session.last_activity),
                                 .bytes_in = session.bytes_in,
                                 .bytes_out = session.bytes_out,
                                 .messages = session.messages,
                                 .ended_by = "idle_timeout"});
  }
  const auto node = sessions_.extract(session.peer);
  latest_ = nullptr;
  if (DatagramHandler* handler = session.handler()) handler->on_end();
  ClientEntry* client = session.client;
  instance_.session_ended(client);
}

void DatagramSessions::end_all() noexcept {
  while (!sessions_.empty()) end(*sessions_.begin()->second);
}

void DatagramSessions::end_unattached() noexcept {
  for (auto next = sessions_.begin(); next != sessions_.end();) {
    DatagramSession& session = *(next++)->second;
    if (!session.handler()) end(session);
  }
}

void DatagramSessions::leave(const DatagramOrigin& origin) noexcept {
  for (auto& [peer, session] : sessions_)
    if (session->origin == &origin) session->origin = nullptr;
}

void DatagramSessions::end_of(const Address& client) noexcept {
  // Looked up again one by one: a plugin may end others when it is told of the first.
  contain("the end of a client's sessions", [&] {
    std::vector<Address> theirs;
    for (const auto& [peer, session] : sessions_)
      if (peer.client() == client) theirs.push_back(peer);
    for (const Address& peer : theirs)
      if (DatagramSession* session = find(peer)) end(*session);
  });
}

void DatagramSessions::list(std::size_t limit, std::vector<SessionStatus>& out) const {
  const Duration now = Loop::now();
  for (const auto& [peer, session] : sessions_) {
    if (out.size() >= limit) return;
    out.push_back({.id = session->id,
                   .service = instance_.configuration.name,
                   .peer = peer.to_string(),
                   .transport = session->transport_,
                   .started_ms = unix_ms() - to_ms(now - session->started),
                   .idle_ms = to_ms(now - session->last_activity),
                   .bytes_in = session->bytes_in,
                   .bytes_out = session->bytes_out,
                   .messages = session->messages});
  }
}

}  // namespace portolan
