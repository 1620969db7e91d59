// `--store FILE` of `portolan send` and `portolan receive`: what became of each file, as rows of the view `transfers`, in a store
// that nobody else has open.
//
// A store that is broken or full stops no transfer. Main thread.
#pragma once

#include "plugin/kept.h"
#include "store/store.h"

#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace portolan {

class TransferHistory {
 public:
  // `command`: the service of its rows. An empty path: nothing is kept. The error is a sentence.
  static std::expected<TransferHistory, std::string> open(const std::string& path, std::string_view command);

  void add(const KeptTransfer& transfer) noexcept {
    if (store_) store_->keep_transfer(command_, transfer);
  }
  // Writes what is pending; after it nothing is kept. A sentence where not all could be.
  std::string close();

 private:
  std::unique_ptr<Store> store_;
  std::string command_;
};

}  // namespace portolan
