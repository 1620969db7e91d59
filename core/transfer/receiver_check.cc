// How a receiver finds out what it has already: by the digests that the sender tells of the file's first bytes.
//
// The sender tells and the receiver compares, not the other way round: who does not know a file does not learn here what is
// in the one of its name.
#include "transfer/receiver.h"

#include "transfer/path_name.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace portolan::transfer {
namespace {

constexpr std::uint64_t kStep = 1024 * 1024;
constexpr std::uint64_t kZeroStep = 4 * 1024 * 1024;

std::size_t read_at(int descriptor, std::uint64_t offset, std::span<std::byte> into) noexcept {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = ::pread(descriptor, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace

void Receiver::on(const Prefix& prefix, Duration now) {
  if (prefix.id >= next_id_) return fail("digests came of a file that was not offered");
  Offered* file = offered(prefix.id);
  if (!file || !file->compares) return;  // the answer has been given already
  if (check_ && check_->id != prefix.id) return fail("digests of two files came at once");
  if (!check_ && !open_check(*file, now)) return;
  if (prefix.first != check_->hash.size() / kCheckEvery) return fail("digests came out of order");
  digests_.assign(prefix.digests.begin(), prefix.digests.end());
  compared_ = 0;
  work_ = Work::compare;
}

bool Receiver::open_check(Offered& file, Duration now) {
  Reading reading{.id = file.entry.id};
  if (file.existing) {
    const SplitPath split = split_path(file.path);
    const auto folder = folder_.folder(split.folder);
    if (folder) {
      reading.existing.reset(
          ::openat((*folder)->get(), std::string(split.name).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    }
  } else {
    auto partial = open_partial(file.path, false, now);
    if (!partial && partial.error().busy) {
      settle(file.entry.id, Outcome::busy, {});
      return false;
    }
    if (partial) reading.partial = std::move(*partial);
  }
  check_.emplace(std::move(reading));
  if (check_->existing || check_->partial.folder()) return true;
  settle_check(0, now);  // it has gone meanwhile
  return false;
}

void Receiver::compare_step(Duration now) {
  const std::uint64_t length = offered(check_->id)->had;
  std::uint64_t budget = kStep;
  while (compared_ * sizeof(Digest) < digests_.size()) {
    FileHash& hash = check_->hash;
    const std::uint64_t start = hash.size() / kCheckEvery * kCheckEvery;
    const std::uint64_t end = std::min(start + kCheckEvery, length);
    while (hash.size() < end) {
      if (budget == 0) return;
      std::byte piece[64 * 1024];
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(sizeof piece, end - hash.size()));
      const auto into = std::span(piece).first(want);
      const std::size_t got = check_->existing ? read_at(check_->existing.get(), hash.size(), into)
                                               : check_->partial.read(hash.size(), into).value_or(0);
      if (got < want) return settle_check(start, now);
      hash.add(into);
      budget -= std::min<std::uint64_t>(budget, got);
    }
    if (hash.digest() != Prefix{.digests = digests_}.at(compared_)) return settle_check(start, now);
    ++compared_;
    if (end == length) return settle_check(length, now);
  }
  work_ = Work::none;
}

void Receiver::settle_check(std::uint64_t matched, Duration now) {
  work_ = Work::none;
  Reading reading = std::move(*check_);
  check_.reset();
  Offered& file = *offered(reading.id);
  file.compares = false;
  if (!file.existing) {
    // Its hash goes on from here, if it has not gone too far.
    if (matched > 0 && reading.hash.size() == matched) checked_.emplace(std::move(reading));
    const std::uint64_t wanted = file.entry.data - std::min(matched, file.entry.data);
    wanted_ += wanted - file.wanted;
    file.wanted = wanted;
    return want(file, matched);
  }
  if (matched == file.entry.size) return settle(reading.id, Outcome::identical, {});
  take_despite(file, now);
}

void Receiver::rehash_step() {
  std::uint64_t budget = kStep;
  while (current_->hash.size() < rehash_to_) {
    if (budget == 0) return;
    std::byte piece[64 * 1024];
    const std::uint64_t at = current_->hash.size();
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(sizeof piece, rehash_to_ - at));
    const auto got = current_->file.read(at, std::span(piece).first(want));
    if (!got || *got < want) {
      work_ = Work::none;
      return give_up_current(Outcome::failed, "what had come of it can no longer be read");
    }
    current_->hash.add(std::span(piece).first(want));
    budget -= std::min<std::uint64_t>(budget, want);
  }
  work_ = Work::none;
}

void Receiver::zeros_step() {
  const std::uint64_t part = std::min(zeros_left_, kZeroStep);
  current_->hash.add_zeros(part);
  zeros_left_ -= part;
  if (zeros_left_ == 0) work_ = Work::none;
}

}  // namespace portolan::transfer
