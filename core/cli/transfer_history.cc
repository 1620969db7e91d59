#include "cli/transfer_history.h"

#include <fmt/format.h>

#include <future>
#include <utility>

namespace portolan {

std::expected<TransferHistory, std::string> TransferHistory::open(const std::string& path, std::string_view command) {
  TransferHistory history;
  if (path.empty()) return history;
  auto store = Store::open({.path = path, .flush_every = std::chrono::seconds(1)});
  if (!store) return std::unexpected(store.error());
  history.store_ = std::move(*store);
  history.command_ = command;
  history.store_->start(std::make_shared<StatsRegistry>());
  return history;
}

std::string TransferHistory::close() {
  const std::unique_ptr<Store> store = std::exchange(store_, nullptr);
  if (!store) return {};
  std::promise<std::string> flushed;
  store->flush([&flushed](std::string error) { flushed.set_value(std::move(error)); });
  std::string error = flushed.get_future().get();
  const auto lost = store->health().records_lost;
  store->stop();
  if (error.empty() && lost > 0) error = fmt::format("{} rows of the history were lost", lost);
  return error;
}

}  // namespace portolan
