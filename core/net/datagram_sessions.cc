#include "datagram_sessions.h"

#include "base/callback.h"
#include "base/clock.h"
#include "net/session_status.h"
#include "plugin/instance.h"

namespace portolan {

DatagramSession* DatagramSessions::find_or_begin(const Address& peer) noexcept {
  if (latest_ && latest_->peer == peer) return latest_;
  const auto found = sessions_.find(peer);
  if (found != sessions_.end()) return latest_ = &found->second;
  const auto admission = instance_.admit_session(peer, Instance::Blame::datagram);
  if (!admission.admitted) return nullptr;
  DatagramSession* made = nullptr;
  if (!contain("a new session", [&] { made = &sessions_[peer]; })) {
    instance_.session_ended(admission.client);
    return nullptr;
  }
  DatagramSession& session = *made;
  session.peer = peer;
  session.client = admission.client;
  session.id = instance_.io.next_session_id();
  session.started = session.last_activity = instance_.io.now();
  instance_.peers.add(session, session.started);
  instance_.arm_timeouts();
  return latest_ = &session;
}

void DatagramSessions::end(DatagramSession& session) noexcept {
  instance_.peers.remove(session);
  if (instance_.recorder && instance_.recorder->wants_session()) {
    const std::int64_t now = unix_ms();
    instance_.recorder->session({.id = session.id,
                                 .service = instance_.configuration.name,
                                 .peer = session.peer.to_string(),
                                 .transport = Transport::udp,
                                 .started_ms = now - to_ms(instance_.io.now() - session.started),
                                 .ended_ms = now - to_ms(instance_.io.now() - session.last_activity),
                                 .bytes_in = session.bytes_in,
                                 .bytes_out = session.bytes_out,
                                 .messages = session.messages,
                                 .ended_by = "idle_timeout"});
  }
  ClientEntry* client = session.client;
  latest_ = nullptr;
  sessions_.erase(Address(session.peer));
  instance_.session_ended(client);
}

void DatagramSessions::end_all() noexcept {
  while (!sessions_.empty()) end(sessions_.begin()->second);
}

void DatagramSessions::end_of(const Address& client) noexcept {
  for (auto next = sessions_.begin(); next != sessions_.end();) {
    DatagramSession& session = (next++)->second;
    if (session.peer.client() == client) end(session);
  }
}

void DatagramSessions::list(std::size_t limit, std::vector<SessionStatus>& out) const {
  const Duration now = Loop::now();
  for (const auto& [peer, session] : sessions_) {
    if (out.size() >= limit) return;
    out.push_back({.id = session.id,
                   .service = instance_.configuration.name,
                   .peer = peer.to_string(),
                   .transport = Transport::udp,
                   .started_ms = unix_ms() - to_ms(now - session.started),
                   .idle_ms = to_ms(now - session.last_activity),
                   .bytes_in = session.bytes_in,
                   .bytes_out = session.bytes_out,
                   .messages = session.messages});
  }
}

}  // namespace portolan
