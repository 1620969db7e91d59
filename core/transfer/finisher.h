// Makes files lasting, and gives them their names: what waits for the disk, on a thread of its own.
//
// A file is synced, renamed, and its folder synced: after that, and not before, its sender is told that it has been received.
// Many at once share one syncfs(2): 2,000 small files cost a few waits for the disk and not 2,000.
//
// submit and collect from one thread; `wake` is called from the finisher's own. Destroying it waits for what is under way.
#pragma once

#include "base/unique_fd.h"
#include "transfer/protocol.h"
#include "transfer/receive_folder.h"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace portolan::transfer {

struct Finished {
  std::uint32_t id = 0;
  Outcome outcome = Outcome::received;
  std::string name;  // that it has now, in its folder
  std::string text;  // why not
};

// Where the results of one session go. It may be gone when they come: what is verified gets its name all the same.
struct FinishedBox {
  std::mutex mutex;
  std::vector<Finished> results;
};

struct FinishJob {
  std::uint32_t id = 0;
  UniqueFd file;
  FolderPointer partial_folder;
  std::string partial;
  FolderPointer folder;
  std::string name;
  Existing existing = Existing::refuse;
  std::uint16_t mode = 0;
  std::int64_t modified_seconds = 0;
  std::uint32_t modified_nanoseconds = 0;
  std::shared_ptr<FinishedBox> box;
};

// The work itself, without the thread: for tests, and for what cannot wait for one.
void finish(std::vector<FinishJob> jobs) noexcept;

class Finisher {
 public:
  explicit Finisher(std::function<void()> wake) : wake_(std::move(wake)) {}
  ~Finisher();
  Finisher(const Finisher&) = delete;
  Finisher& operator=(const Finisher&) = delete;
  void submit(FinishJob job);

 private:
  void run() noexcept;

  const std::function<void()> wake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<FinishJob> waiting_;
  bool ends_ = false;
  std::thread thread_;  // begun with the first job
};

}  // namespace portolan::transfer
