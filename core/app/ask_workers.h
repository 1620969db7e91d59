// A question to all workers at once. Main thread.
#pragma once

#include "app/worker.h"

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace portolan {

using Workers = std::vector<std::unique_ptr<Worker>>;

// Calls `each(worker, answered)` for every worker, and `done` on the main thread, whose mailbox it is, when every one of
// them has called its `answered`, on whatever thread.
template <typename Each>
void ask_workers(const Workers& workers, const std::shared_ptr<Mailbox>& mailbox, Each each,
                 std::function<void()> done) {
  auto left = std::make_shared<std::size_t>(workers.size());
  auto answered = [mailbox, left, done = std::move(done)] {
    mailbox->post([left, done] {
      if (--*left == 0) done();
    });
  };
  for (const auto& worker : workers) each(*worker, answered);
}

}  // namespace portolan
