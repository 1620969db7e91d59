#include "event/http_server.h"

#include "base/callback.h"
#include "base/log.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace portolan {

namespace {

constexpr int kTimeoutSeconds = 10;
constexpr std::size_t kMostHeader = 8 * 1024;
constexpr auto kAcceptPause = std::chrono::milliseconds(200);
// How often connections are looked at while there are some, and while there are as many as there may be.
constexpr auto kLookEvery = std::chrono::milliseconds(200);
constexpr auto kLookSoon = std::chrono::milliseconds(10);

struct FreeEvhttp {
  void operator()(evhttp* http) const noexcept { evhttp_free(http); }
};

const char* method_name(evhttp_cmd_type type) noexcept {
  switch (type) {
    case EVHTTP_REQ_GET: return "GET";
    case EVHTTP_REQ_POST: return "POST";
    case EVHTTP_REQ_HEAD: return "HEAD";
    case EVHTTP_REQ_PUT: return "PUT";
    case EVHTTP_REQ_DELETE: return "DELETE";
    case EVHTTP_REQ_OPTIONS: return "OPTIONS";
    case EVHTTP_REQ_TRACE: return "TRACE";
    case EVHTTP_REQ_CONNECT: return "CONNECT";
    case EVHTTP_REQ_PATCH: return "PATCH";
  }
  return "?";
}

void answer(evhttp_request* request, int status, std::string_view content_type, std::string_view body) {
  evkeyvalq* headers = evhttp_request_get_output_headers(request);
  evhttp_add_header(headers, "Content-Type", std::string(content_type).c_str());
  evhttp_add_header(headers, "Cache-Control", "no-store");
  // One request for a connection: those who ask are few, and a kept connection would hold up the end of the daemon.
  evhttp_add_header(headers, "Connection", "close");
  // evhttp would send the body to a HEAD, too.
  const bool head = evhttp_request_get_command(request) == EVHTTP_REQ_HEAD;
  if (head) evhttp_add_header(headers, "Content-Length", std::to_string(body.size()).c_str());
  evbuffer* buffer = head ? nullptr : evbuffer_new();
  if (buffer) evbuffer_add(buffer, body.data(), body.size());
  // The connection may be gone: evhttp then frees the request and sends nothing.
  evhttp_send_reply(request, status, nullptr, buffer);
  if (buffer) evbuffer_free(buffer);
}

HttpRequest value_of(evhttp_request* request) {
  HttpRequest value;
  value.method = method_name(evhttp_request_get_command(request));
  const evhttp_uri* uri = evhttp_request_get_evhttp_uri(request);
  const char* path = uri ? evhttp_uri_get_path(uri) : nullptr;
  std::size_t size = 0;
  if (char* decoded = evhttp_uridecode(path && *path ? path : "/", 0, &size)) {
    value.path.assign(decoded, size);
    std::free(decoded);
  }
  const char* query = uri ? evhttp_uri_get_query(uri) : nullptr;
  evkeyvalq fields{};
  if (query && *query && evhttp_parse_query_str(query, &fields) == 0) {
    for (const evkeyval* field = fields.tqh_first; field; field = field->next.tqe_next) {
      value.query.insert_or_assign(field->key, field->value ? field->value : "");
    }
    evhttp_clear_headers(&fields);
  }
  if (evbuffer* body = evhttp_request_get_input_buffer(request)) {
    value.body.resize(evbuffer_get_length(body));
    evbuffer_copyout(body, value.body.data(), value.body.size());
  }
  return value;
}

}  // namespace

class HttpServer::Impl : public std::enable_shared_from_this<HttpServer::Impl> {
 public:
  Impl(Loop& loop, int listening, Handler handler, HttpLimits limits)
      : handler_(std::move(handler)),
        limits_(limits),
        http_(evhttp_new(loop.base())),
        accept_again_(loop, [this] { resume(); }),
        look_(loop, [this] { look(); }) {
    if (!http_) throw std::bad_alloc();
    evhttp_set_max_headers_size(http_.get(), kMostHeader);
    evhttp_set_max_body_size(http_.get(), static_cast<ev_ssize_t>(limits.body));
    evhttp_set_timeout(http_.get(), kTimeoutSeconds);
    // All that evhttp knows: the wrong ones are refused by path, with a 405 that says which are right.
    evhttp_set_allowed_methods(http_.get(), 0x1ff);
    evhttp_set_gencb(http_.get(), c_callback(&Impl::on_request), this);
    evhttp_set_bevcb(http_.get(), c_callback(&Impl::on_connection), this);
    // A copy, because evhttp closes what it accepts from.
    const int copy = fcntl(listening, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) throw std::runtime_error(std::string("cannot serve the admin API: ") + std::strerror(errno));
    evhttp_bound_socket* bound = evhttp_accept_socket_with_handle(http_.get(), copy);
    if (!bound) {
      ::close(copy);
      throw std::runtime_error("cannot serve the admin API: libevent does not accept from its socket");
    }
    listener_ = evhttp_bound_socket_get_listener(bound);
    evutil_make_socket_nonblocking(copy);
    // evhttp keeps the listener's user pointer for itself: ours is found through this table.
    listeners().insert({listener_, this});
    evconnlistener_set_error_cb(listener_, c_callback(&Impl::on_accept_error));
  }

  // Before the destructor, while the object is shared still.
  void end() {
    while (!pending_.empty()) {
      evhttp_request* request = *pending_.begin();
      pending_.erase(pending_.begin());
      answer(request, 503, "application/json", R"({"ok":false,"error":"the daemon is ending"})");
    }
    end_streams();
    // The loop turns no more: what was said last is sent as far as it goes at once.
    for (const Peer& peer : peers_) {
      evbuffer* unsent = bufferevent_get_output(peer.stream);
      if (bufferevent_getfd(peer.stream) < 0 || evbuffer_get_length(unsent) == 0) continue;
      evbuffer_unfreeze(unsent, 1);
      evbuffer_write(unsent, bufferevent_getfd(peer.stream));
    }
    listeners().erase(listener_);
    http_.reset();
    for (const Peer& peer : peers_) bufferevent_decref(peer.stream);
    peers_.clear();
  }

  bool take(evhttp_request* request) { return pending_.erase(request) == 1; }
  void add(HttpStream::State& stream) { streams_.insert(&stream); }
  void remove(HttpStream::State& stream) noexcept { streams_.erase(&stream); }
  std::thread::id thread() const noexcept { return thread_; }

 private:
  static std::map<evconnlistener*, Impl*>& listeners() {
    static thread_local std::map<evconnlistener*, Impl*> all;
    return all;
  }
  static void on_request(evhttp_request* request, void* self) noexcept;
  static void on_accept_error(evconnlistener* listener, void*) noexcept {
    const auto found = listeners().find(listener);
    if (found == listeners().end()) return;
    log::warning("the admin API cannot accept a connection: {}", std::strerror(errno));
    // The connection stays in the kernel's queue and would wake us again at once.
    evconnlistener_disable(listener);
    found->second->accept_again_.start(kAcceptPause);
  }
  void resume() {
    if (peers_.size() < limits_.connections) evconnlistener_enable(listener_);
  }

  // evhttp says neither how many connections it has nor when one has ended, and its timeout begins again with every
  // byte. So each one's bufferevent is held until evhttp has let go of it, which takes its callbacks away. It owns the
  // socket: closed by evhttp before, the number could be another's by the time that its events are taken out.
  struct Peer {
    bufferevent* stream;
    Duration since;
  };
  static bufferevent* on_connection(event_base* base, void* self) noexcept {
    auto& server = *static_cast<Impl*>(self);
    bufferevent* stream = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (!stream) return nullptr;
    // What still comes when evhttp has let go of it is read up to here.
    bufferevent_setwatermark(stream, EV_READ, 0, kMostHeader + server.limits_.body);
    try {
      server.peers_.push_back({stream, Loop::now()});
    } catch (const std::bad_alloc&) {
      return stream;  // served, without a bound
    }
    bufferevent_incref(stream);
    const bool full = server.peers_.size() >= server.limits_.connections;
    if (full) evconnlistener_disable(server.listener_);
    if (full || !server.look_.running()) server.look_.start(full ? Duration(kLookSoon) : Duration(kLookEvery));
    return stream;
  }
  void end_streams();
  std::vector<evhttp_request*> requests() const;
  void look() {
    std::set<bufferevent*> owed;  // those that wait for an answer of ours, or are given one
    for (evhttp_request* request : requests()) {
      evhttp_connection* connection = evhttp_request_get_connection(request);
      if (connection) owed.insert(evhttp_connection_get_bufferevent(connection));
    }
    const Duration now = Loop::now();
    for (Peer& peer : peers_) {
      if (owed.contains(peer.stream)) peer.since = now;  // the time for its answer begins with it
    }
    std::erase_if(peers_, [&](const Peer& peer) {
      bufferevent_event_cb held = nullptr;
      bufferevent_getcb(peer.stream, nullptr, nullptr, &held, nullptr);
      if (!held) return bufferevent_decref(peer.stream), true;
      // evhttp then finds it closed.
      if (now - peer.since >= limits_.connection_time) ::shutdown(bufferevent_getfd(peer.stream), SHUT_RDWR);
      return false;
    });
    if (!accept_again_.running()) resume();
    if (!peers_.empty()) look_.start(peers_.size() < limits_.connections ? Duration(kLookEvery) : Duration(kLookSoon));
  }

  const std::thread::id thread_ = std::this_thread::get_id();
  Handler handler_;
  const HttpLimits limits_;
  std::unique_ptr<evhttp, FreeEvhttp> http_;
  LoopTimer accept_again_;
  LoopTimer look_;
  std::vector<Peer> peers_;
  evconnlistener* listener_ = nullptr;
  std::set<evhttp_request*> pending_;     // handed out, not answered
  std::set<HttpStream::State*> streams_;  // begun, not ended
};

// An answer that is under way. evhttp keeps the request until it is ended, also when it has lost the connection.
class HttpStream::State {
 public:
  State(const std::shared_ptr<HttpServer::Impl>& server, evhttp_request* request, std::function<void()> gone)
      : server_(server), request_(request), gone_(std::move(gone)) {
    if (request_) server->add(*this);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { end(); }

  void begin(int status, std::string_view content_type) {
    evkeyvalq* headers = evhttp_request_get_output_headers(request_);
    evhttp_add_header(headers, "Content-Type", std::string(content_type).c_str());
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "Connection", "close");
    evhttp_connection* connection = evhttp_request_get_connection(request_);
    if (!connection) return;
    evhttp_connection_set_closecb(connection, c_callback(&State::on_close), this);
    evhttp_send_reply_start(request_, status, nullptr);
    // It may be silent for long, both ways: what is no sign of having gone.
    bufferevent_set_timeouts(evhttp_connection_get_bufferevent(connection), nullptr, nullptr);
  }
  void write(std::string_view piece) {
    evhttp_connection* connection = request_ ? evhttp_request_get_connection(request_) : nullptr;
    if (!connection || piece.empty()) return;
    evbuffer* buffer = evbuffer_new();
    if (!buffer) return;
    evbuffer_add(buffer, piece.data(), piece.size());
    evhttp_send_reply_chunk(request_, buffer);
    evbuffer_free(buffer);
  }
  std::size_t unsent() const {
    evhttp_connection* connection = request_ ? evhttp_request_get_connection(request_) : nullptr;
    return connection ? evbuffer_get_length(bufferevent_get_output(evhttp_connection_get_bufferevent(connection))) : 0;
  }
  void end() noexcept {
    evhttp_request* request = std::exchange(request_, nullptr);
    if (!request) return;
    if (const auto server = server_.lock()) server->remove(*this);
    if (evhttp_connection* connection = evhttp_request_get_connection(request))
      evhttp_connection_set_closecb(connection, nullptr, nullptr);
    evhttp_send_reply_end(request);
  }
  evhttp_request* request() const noexcept { return request_; }

 private:
  // evhttp has taken the connection off the request by now, and frees it.
  static void on_close(evhttp_connection*, void* self) noexcept {
    // The owner may let go of the stream in there.
    const auto gone = std::exchange(static_cast<State*>(self)->gone_, nullptr);
    contain("the end of a connection to the admin API", [&] {
      if (gone) gone();
    });
  }

  const std::weak_ptr<HttpServer::Impl> server_;
  evhttp_request* request_;
  std::function<void()> gone_;
};

void HttpServer::Impl::end_streams() {
  while (!streams_.empty()) (*streams_.begin())->end();
}

std::vector<evhttp_request*> HttpServer::Impl::requests() const {
  std::vector<evhttp_request*> all(pending_.begin(), pending_.end());
  for (const HttpStream::State* stream : streams_) all.push_back(stream->request());
  return all;
}

void HttpStream::write(std::string_view piece) const { state_->write(piece); }
void HttpStream::end() const { state_->end(); }
std::size_t HttpStream::unsent() const { return state_->unsent(); }

class HttpReply::State {
 public:
  State(std::weak_ptr<HttpServer::Impl> server, evhttp_request* request)
      : server_(std::move(server)), request_(request) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (!request_) return;
    try {
      send(500, "application/json", R"({"ok":false,"error":"there was no answer"})");
    } catch (...) {  // out of memory: the server answers it at its end
    }
  }

  void send(int status, std::string_view content_type, std::string_view body) {
    evhttp_request* request = std::exchange(request_, nullptr);
    const auto server = server_.lock();
    // Elsewhere than on its thread the loop must not be touched: the server answers it at its end.
    if (!request || !server || server->thread() != std::this_thread::get_id() || !server->take(request)) return;
    answer(request, status, content_type, body);
  }
  std::shared_ptr<HttpStream::State> begin(int status, std::string_view content_type, std::function<void()> gone) {
    evhttp_request* request = std::exchange(request_, nullptr);
    const auto server = server_.lock();
    // Answered already, or ending: a stream that leads nowhere.
    const bool alive = request && server && server->take(request);
    auto stream = std::make_shared<HttpStream::State>(server, alive ? request : nullptr, std::move(gone));
    if (alive) stream->begin(status, content_type);
    return stream;
  }

 private:
  std::weak_ptr<HttpServer::Impl> server_;
  evhttp_request* request_;
};

void HttpServer::Impl::on_request(evhttp_request* request, void* self) noexcept {
  auto* server = static_cast<Impl*>(self);
  const bool handled = contain("a request to the admin API", [&] {
    server->pending_.insert(request);
    const HttpReply reply(std::make_shared<HttpReply::State>(server->weak_from_this(), request));
    server->handler_(value_of(request), reply);
  });
  if (handled) return;
  // Without memory for this either, it is answered at the server's end.
  contain("the answer to a request that failed", [&] {
    if (server->take(request))
      answer(request, 500, "application/json", R"({"ok":false,"error":"it failed: see the log"})");
  });
}

HttpStream HttpReply::begin(int status, std::string_view content_type, std::function<void()> gone) const {
  return HttpStream(state_->begin(status, content_type, std::move(gone)));
}

void HttpReply::send(int status, std::string_view content_type, std::string_view body) const {
  state_->send(status, content_type, body);
}

HttpServer::HttpServer(Loop& loop, int listening, Handler handler, HttpLimits limits)
    : impl_(std::make_shared<Impl>(loop, listening, std::move(handler), limits)) {}

HttpServer::~HttpServer() { impl_->end(); }

}  // namespace portolan
