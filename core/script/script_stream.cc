#include "script/script_stream.h"

#include "base/callback.h"
#include "base/net_error.h"
#include "net/worker_io.h"
#include "script/runtime.h"
#include "script/script_service.h"

#include <lua.hpp>

#include <algorithm>
#include <utility>

namespace portolan {
namespace {

// What may wait unread before the peer is held back; core ends a session that leaves more than its input limit.
constexpr std::size_t kUnread = 16 * 1024;

std::string_view text_of(std::span<const std::byte> data) noexcept {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

ScriptStream::ScriptStream(ScriptService& service, Stream& stream, Side side, Pool* pool)
    : service_(service.shared_from_this()),
      stream_(&stream),
      pool_(pool),
      service_name_(service.name()),
      most_(service.read_limit()),
      id_(stream.info().id),
      transport_(stream.info().transport),
      side_(side),
      reused_(pool && stream.bytes_out() > 0) {
  // What a script writes must not keep its peer from being read: who relays needs both.
  stream.resume();
}

std::size_t ScriptStream::on_data(Stream& stream, std::span<const std::byte> data) noexcept {
  begin_turn();
  in_data_ = true;
  data_ = text_of(data);
  used_ = 0;
  serve_reader();
  in_data_ = false;
  end_turn();
  const std::size_t used = used_;
  // Nobody reads: what comes is kept, but not without end.
  if (stream_ && !reader_ && data.size() - used >= std::min(kUnread, service_->input_limit() / 2)) stream.pause();
  release();
  return used;
}

void ScriptStream::serve_reader() noexcept {
  using State = ReadRequest::Answer::State;
  const Duration began = service_->runtime().time_spent();
  while (reader_ && !closing_) {
    const auto answer = request_.look(data_.substr(used_));
    if (answer.state == State::incomplete) break;
    // Not now: it is asked again.
    if (answer.state == State::complete && side_ == Side::session && !stream_->admit(answer.used)) break;
    used_ += answer.used;
    at_once_ = 0;
    answer_reader(answer);
    // The others get their turn: one who asks again for what is too long would never come to an end here.
    if (answer.state == State::too_long || service_->runtime().time_spent() - began > WorkerIo::kTurn) {
      if (reader_) ask_again();
      break;
    }
  }
}

void ScriptStream::ask_again() noexcept {
  if (!stream_) return;
  stream_->pause();
  stream_->resume();
}

void ScriptStream::answer_reader(const ReadRequest::Answer& answer) noexcept {
  service_->runtime().wake(*std::exchange(reader_, nullptr), [&](lua_State* state) {
    if (answer.state == ReadRequest::Answer::State::complete) {
      lua_pushlstring(state, answer.value.data(), answer.value.size());
      return 1;
    }
    lua_pushnil(state);
    lua_pushliteral(state, "too long");
    return 2;
  });
}

// There is no more: what is left of the input is the third value, for who wants it.
void ScriptStream::fail_reader(std::string_view rest) noexcept {
  if (!reader_) return;
  service_->runtime().wake(*std::exchange(reader_, nullptr), [&](lua_State* state) {
    const std::string_view why = end_reason();
    lua_pushnil(state);
    lua_pushlstring(state, why.data(), why.size());
    if (rest.empty()) return 2;
    lua_pushlstring(state, rest.data(), rest.size());
    return 3;
  });
}

bool ScriptStream::on_end(Stream&, std::span<const std::byte> rest) noexcept {
  begin_turn();
  ended_ = true;
  contain("the end of a script's input", [&] { tail_.assign(text_of(rest)); });
  if (reader_) {
    // What it asks for afterwards it finds here.
    const auto answer = request_.look(tail_);
    if (answer.state == ReadRequest::Answer::State::complete) {
      const std::string value(answer.value);
      tail_.erase(0, answer.used);
      answer_reader({answer.state, value, 0});
    } else if (answer.state == ReadRequest::Answer::State::too_long) {
      answer_reader(answer);
    } else {
      const std::string left = tail_;
      fail_reader(left);
    }
  }
  end_turn();
  release();
  return true;  // it ends with its task
}

void ScriptStream::on_sent(Stream&) noexcept {
  begin_turn();
  wake_writers();
  end_turn();
  release();
}

void ScriptStream::wake_writers() noexcept {
  // Who is woken may end others that wait, or wait again.
  for (std::size_t turns = writers_.size(); turns > 0 && !writers_.empty(); --turns) {
    Task* const task = writers_.front();
    writers_.erase(writers_.begin());
    service_->runtime().wake(*task, [](lua_State*) { return 0; });
  }
}

void ScriptStream::on_close(Stream&, NetError why) noexcept {
  stream_ = nullptr;
  why_ = why;
  ++tasks;  // so that it stays until this is over
  fail_reader({});
  wake_writers();
  if (side_ == Side::session) {
    service_->cancel(*this, "the session has ended");
    close_dialed();
  }
  --tasks;
  release();
}

void ScriptStream::on_leader_end(Task&, bool) noexcept {
  close(false);
  service_->cancel(*this, "the session has ended");
  close_dialed();
}

void ScriptStream::belong_to(ScriptStream* session) noexcept {
  contain("a dialed connection", [&] {
    if (session)
      session->dialed_.push_back(this);
    else
      service_->add_dialed(*this);
    session_ = session;
  });
}

ScriptStream::~ScriptStream() {
  if (session_) std::erase(session_->dialed_, this);
  if (side_ == Side::dialed) service_->remove_dialed(*this);
}

void ScriptStream::close_dialed() noexcept {
  for (ScriptStream* dialed : std::exchange(dialed_, {})) {
    dialed->session_ = nullptr;
    dialed->close(false);
  }
}

bool ScriptStream::take_up() noexcept {
  if (in_lua_) return true;
  delete this;
  return false;
}

void ScriptStream::close(bool reset) noexcept {
  closing_ = true;
  // The stream may close, and this be gone, before reset returns.
  if (stream_) reset ? stream_->reset() : stream_->close();
}

std::string_view ScriptStream::end_reason() const noexcept {
  if (closing_ || why_ == NetError::none || why_ == NetError::closed) return "closed";
  return to_sentence(why_);
}

void ScriptStream::release() noexcept {
  if (stream_ || in_lua_ || tasks != 0) return;
  close_dialed();
  delete this;
}

}  // namespace portolan
