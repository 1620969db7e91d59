#include "worker_io.h"

#include "net/rudp_dialer.h"
#include "script/bus.h"
#include "stream_connection.h"

#include <iterator>

namespace portolan {

namespace {

// A megabyte of spare buffers at most.
constexpr std::size_t kMostSpareBuffers = 256;
constexpr std::size_t kLargestSpareBuffer = 4096;

}  // namespace

WorkerIo::WorkerIo(Loop& loop, unsigned worker, Mailbox* mailbox)
    : loop_(loop),
      worker_(worker),
      mailbox_(mailbox),
      read_buffer_(new std::byte[kReadSize]),
      resume_timer_(loop, [this] { run_resumes(); }),
      retire_timer_(loop, [this] { run_retired(); }) {
  spare_buffers_.reserve(kMostSpareBuffers);
}

WorkerIo::~WorkerIo() { run_retired(); }

void WorkerIo::post(std::function<void()> task) {
  mailbox_ ? mailbox_->post(std::move(task)) : retire_later(std::move(task));
}

ScriptBus& WorkerIo::bus() {
  if (!bus_) bus_ = std::make_shared<ScriptBus>();
  return *bus_;
}

NameCache& WorkerIo::names() {
  if (!resolver_) resolver_ = std::make_unique<Resolver>(loop_);
  if (!names_) names_ = std::make_unique<NameCache>(loop_, *resolver_);
  return *names_;
}

RudpDialer& WorkerIo::rudp() {
  if (!rudp_) rudp_ = std::make_unique<RudpDialer>(loop_);
  return *rudp_;
}

std::unique_ptr<std::vector<std::byte>> WorkerIo::take_buffer() {
  if (spare_buffers_.empty()) return std::make_unique<std::vector<std::byte>>();
  auto buffer = std::move(spare_buffers_.back());
  spare_buffers_.pop_back();
  return buffer;
}

void WorkerIo::give_back(std::unique_ptr<std::vector<std::byte>> buffer) noexcept {
  if (buffer->capacity() > kLargestSpareBuffer || spare_buffers_.size() == kMostSpareBuffers) return;
  buffer->clear();
  spare_buffers_.push_back(std::move(buffer));
}

void WorkerIo::run_retired() {
  // One may retire more: a generation's end lets go of its plugins' timers.
  while (!retired_.empty()) {
    auto tasks = std::exchange(retired_, {});
    for (auto& task : tasks) task();
  }
}

void WorkerIo::settle() noexcept {
  while (!marked_.empty()) {
    StreamConnection* stream = marked_.back();
    marked_.pop_back();
    stream->settle_marked();
  }
}

void WorkerIo::resume_at(Duration time, StreamConnection& stream) {
  resumes_.emplace(time, &stream);
  if (resumes_.begin()->second == &stream) arm();
}

void WorkerIo::arm() {
  if (resumes_.empty()) return resume_timer_.stop();
  resume_timer_.start(std::max(resumes_.begin()->first - Loop::now(), Duration::zero()));
}

void WorkerIo::run_resumes() {
  const Duration now = tick();
  // Only those due at the start: a stream that wants another turn at once comes after the sockets have had theirs. Each
  // is in the list until its turn: one that is joined may end the other.
  auto turns = std::distance(resumes_.begin(), resumes_.lower_bound({now + Duration(1), nullptr}));
  for (; turns > 0 && !resumes_.empty() && resumes_.begin()->first <= now; --turns) {
    StreamConnection* stream = resumes_.begin()->second;
    resumes_.erase(resumes_.begin());
    stream->clear_resume();
    stream->take_up();
  }
  settle();
  arm();
}

void WorkerIo::retire_later(std::function<void()> task) {
  retired_.push_back(std::move(task));
  retire_timer_.start(Duration::zero());
}

}  // namespace portolan
