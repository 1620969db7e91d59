#include "transfer/finisher.h"

#include "base/file_status.h"
#include "transfer/path_name.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace portolan::transfer {
namespace {

// From so many on, one sync of the file system costs less than one of each.
constexpr std::size_t kSyncTogether = 8;
constexpr unsigned kMostNumbers = 9999;

Finished failed(const FinishJob& job, std::string_view doing) {
  return {
      .id = job.id, .outcome = Outcome::failed, .text = fmt::format("cannot {} it: {}", doing, std::strerror(errno))};
}

// EEXIST: there is something of that name.
int rename_beside(const FinishJob& job, const char* name) noexcept {
  const int from = job.partial_folder->get();
  const int to = job.folder->get();
  if (::renameat2(from, job.partial.c_str(), to, name, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  // Of a file system that cannot do it in one step: a second name, then the first one away. Without hard links it is a look
  // before the step.
  if (::linkat(from, job.partial.c_str(), to, name, 0) == 0) {
    ::unlinkat(from, job.partial.c_str(), 0);
    return 0;
  }
  if (errno == EEXIST) return EEXIST;
  if (link_status(to, name)) return EEXIST;
  return ::renameat(from, job.partial.c_str(), to, name) == 0 ? 0 : errno;
}

Finished put_in_place(const FinishJob& job) {
  Finished done{.id = job.id, .name = job.name};
  if (job.existing == Existing::replace) {
    if (::renameat(job.partial_folder->get(), job.partial.c_str(), job.folder->get(), job.name.c_str()) == 0)
      return done;
    return failed(job, "rename");
  }
  for (unsigned number = 0; number <= kMostNumbers; ++number) {
    done.name = number == 0 ? job.name : numbered_name(job.name, number);
    errno = rename_beside(job, done.name.c_str());
    if (errno == 0) return done;
    if (errno != EEXIST) return failed(job, "rename");
    if (job.existing != Existing::rename) break;
  }
  ::unlinkat(job.partial_folder->get(), job.partial.c_str(), 0);
  done.name.clear();
  done.outcome = job.existing == Existing::skip ? Outcome::skipped : Outcome::refused;
  done.text = "there is another file of this name";
  return done;
}

Finished finish_one(const FinishJob& job, bool synced) {
  const int file = job.file.get();
  if (!synced && ::fsync(file) != 0) return failed(job, "sync");
  return put_in_place(job);
}

bool describe(const FinishJob& job) noexcept {
  return ::fchmod(job.file.get(), job.mode & 0777U) == 0 &&
         set_modified(job.file.get(), job.modified_seconds, job.modified_nanoseconds);
}

void deliver(const FinishJob& job, Finished result) noexcept {
  try {
    const std::lock_guard lock(job.box->mutex);
    job.box->results.push_back(std::move(result));
  } catch (...) {  // no memory: the sender asks again, and finds it in its place
  }
}

}  // namespace

void finish(std::vector<FinishJob> jobs) noexcept {
  try {
    std::vector<Finished> results;
    results.reserve(jobs.size());
    // A file system without modes (FAT) does not refuse files.
    for (const FinishJob& job : jobs) (void)describe(job);
    const bool synced = jobs.size() >= kSyncTogether && ::syncfs(jobs.front().file.get()) == 0;
    for (const FinishJob& job : jobs) results.push_back(finish_one(job, synced));
    std::vector<int> folders;
    for (const FinishJob& job : jobs) folders.push_back(job.folder->get());
    std::ranges::sort(folders);
    const auto rest = std::ranges::unique(folders);
    folders.erase(rest.begin(), rest.end());
    for (const int folder : folders) ::fsync(folder);
    for (std::size_t i = 0; i < jobs.size(); ++i) deliver(jobs[i], std::move(results[i]));
  } catch (...) {
    for (const FinishJob& job : jobs) {
      deliver(job, {.id = job.id, .outcome = Outcome::failed, .name = {}, .text = {}});
    }
  }
}

Finisher::~Finisher() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Finisher::submit(FinishJob job) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  if (!thread_.joinable()) {
    // Signals are the main thread's.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  changed_.notify_one();
}

void Finisher::run() noexcept {
  for (;;) {
    std::vector<FinishJob> jobs;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ends_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      jobs = std::exchange(waiting_, {});
    }
    finish(std::move(jobs));
    wake_();
  }
}

}  // namespace portolan::transfer
