#include "transfer/receiver.h"

#include "base/file_status.h"
#include "base/units.h"
#include "transfer/path_name.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>
#include <type_traits>
#include <utility>

namespace portolan::transfer {
namespace {

constexpr Duration kTellEvery = std::chrono::milliseconds(100);
constexpr Duration kTellAtLeast = std::chrono::seconds(1);
// A sender that lives says something twice a second.
constexpr Duration kSilence = std::chrono::seconds(2);
constexpr std::uint64_t kMostFolders = 1'000'000;

std::string size_text(std::uint64_t bytes) { return format_size(static_cast<std::int64_t>(bytes)); }

}  // namespace

KeptTransfer row_of(const FileReport& file, std::string_view peer) noexcept {
  return {.peer = peer,
          .direction = "received",
          .name = file.path,
          .bytes = file.size,
          .new_bytes = file.new_bytes,
          .duration = file.duration,
          .sha256 = file.sha256,
          .outcome = to_string(file.outcome),
          .detail = file.text};
}

Receiver::Receiver(ReceiveFolder& folder, Finisher& finisher, ReceiverHost& host, Duration now)
    : folder_(folder), finisher_(finisher), host_(host), told_at_(now), heard_at_(now) {
  folder_.enter(*this);
}

Receiver::~Receiver() { folder_.leave(*this); }

void Receiver::fail(std::string_view why) {
  if (!failure_.empty()) return;
  failure_ = why;
  append(out_, Refused{why});
  current_.reset();
  check_.reset();
  checked_.reset();
  work_ = Work::none;
}

// ---- Bytes ----

std::size_t Receiver::receive(std::span<const std::byte> bytes, Duration now) {
  if (!bytes.empty()) heard_at_ = now;
  std::size_t used = 0;
  while (failure_.empty() && !finished_ && !busy()) {
    if (data_left_ > 0) {
      const auto part = bytes.subspan(used, std::min(data_left_, bytes.size() - used));
      if (part.empty()) return used;
      take_data(part);
      data_left_ -= part.size();
      used += part.size();
      continue;
    }
    const auto parsed = parse(bytes.subspan(used));
    if (!parsed) {
      fail(parsed.error());
      break;
    }
    if (!*parsed || !handle((*parsed)->message, now)) return used;
    used += (*parsed)->size;
  }
  return failure_.empty() && !finished_ ? used : bytes.size();
}

bool Receiver::handle(const Message& message, Duration now) {
  if (!greeted_ && !std::holds_alternative<Hello>(message)) {
    fail("a transfer begins with a hello");
    return true;
  }
  return std::visit(
      [&]<typename One>(const One& one) -> bool {
        if constexpr (std::is_same_v<One, Hello> || std::is_same_v<One, Abandon> || std::is_same_v<One, Finish>) {
          on(one);
        } else if constexpr (std::is_same_v<One, Entry> || std::is_same_v<One, Prefix> || std::is_same_v<One, Begin>) {
          on(one, now);
        } else if constexpr (std::is_same_v<One, End>) {
          return on(one, now);
        } else if constexpr (std::is_same_v<One, Data>) {
          if (!current_) fail("data came without a file");
          data_left_ = one.size;
        } else if constexpr (std::is_same_v<One, Hole>) {
          if (!current_) {
            fail("a hole came without a file");
          } else if (!current_->drop) {
            const Offered& file = *offered(current_->id);
            if (one.size > file.entry.size - current_->file.position()) {
              fail("more came than the file's size");
            } else if (auto done = current_->file.add_hole(one.size); !done) {
              give_up_current(Outcome::failed, fmt::format("cannot write it: {}", done.error()));
            } else {
              zeros_left_ = one.size;
              work_ = Work::zeros;
            }
          }
        } else if constexpr (!std::is_same_v<One, Ping>) {
          fail("both sides receive: nobody sends");
        }
        return true;
      },
      message);
}

void Receiver::produce(std::vector<std::byte>& out, Duration now) {
  if (finish_said_ && !finished_ && failure_.empty() && offered_.empty() && finishing_.empty()) end();
  const bool due = now - told_at_ >= (written_ != told_ ? kTellEvery : kTellAtLeast);
  if (due && greeted_ && failure_.empty() && !finished_) {
    append(out_, Progress{written_, activity()});
    told_ = written_;
    told_at_ = now;
  }
  out.insert(out.end(), out_.begin(), out_.end());
  out_.clear();
}

Duration Receiver::deadline() const noexcept {
  if (!failure_.empty() || finished_) return Duration::max();
  return told_at_ + (written_ != told_ ? kTellEvery : kTellAtLeast);
}

Activity Receiver::activity() const noexcept {
  if (asking_) return Activity::asking;
  if (work_ != Work::none) return Activity::checking;
  return current_ || finishing_.empty() ? Activity::receiving : Activity::syncing;
}

void Receiver::step(Duration now) {
  switch (work_) {
    case Work::none: return;
    case Work::compare: return compare_step(now);
    case Work::rehash: return rehash_step();
    case Work::zeros: return zeros_step();
  }
}

// ---- What is offered ----

void Receiver::on(const Hello& hello) {
  if (std::exchange(greeted_, true)) return fail("a second hello came");
  const ReceiveLimits& limits = folder_.options().limits;
  if (limits.max_files != 0 && hello.files > limits.max_files) {
    return fail(fmt::format("it has {} files, and one transfer may have {}", hello.files, limits.max_files));
  }
  if (limits.max_transfer != 0 && hello.bytes > limits.max_transfer) {
    return fail(
        fmt::format("it has {}, and one transfer may have {}", size_text(hello.bytes), size_text(limits.max_transfer)));
  }
  append(out_, Welcome{});
  host_.on_hello(hello.files, hello.bytes);
}

void Receiver::on(const Entry& entry, Duration now) {
  finish_said_ = false;
  if (entry.id != next_id_) return fail("the numbers of its files are not in order");
  ++next_id_;
  if (offered_.size() + finishing_.size() >= kMaxOpen) return fail("it has too many files under way");
  const ReceiveLimits& limits = folder_.options().limits;
  ++entries_;
  // Some may be offered again: those that were busy, or have changed.
  if (limits.max_files != 0 && entries_ > limits.max_files + kMaxOpen) return fail("it has more files than it said");
  if (const auto checked = check_path(entry.path); !checked) {
    offered_.emplace(entry.id, Offered{.entry = entry, .path = std::string(entry.path)});
    return settle(entry.id, Outcome::refused, fmt::format("its name is not taken: {}", checked.error()));
  }
  if (entry.kind == EntryKind::directory) return take_folder(entry);
  take_file(entry, now);
}

void Receiver::take_folder(const Entry& entry) {
  bool made = false;
  const auto folder = folder_.folder(entry.path, (entry.mode & 0777U) | 0700U, &made);
  if (!folder) {
    offered_.emplace(entry.id, Offered{.entry = entry, .path = std::string(entry.path)});
    return settle(entry.id, Outcome::refused, folder.error());
  }
  if (folders_.size() >= kMostFolders) return fail("it has too many folders");
  folders_.push_back({.path = std::string(entry.path),
                      .mode = static_cast<std::uint16_t>(entry.mode & 0777U),
                      .modified_seconds = entry.modified_seconds,
                      .modified_nanoseconds = entry.modified_nanoseconds,
                      .made = made});
  answer(entry.id, Outcome::received, {});
}

void Receiver::take_file(const Entry& entry, Duration now) {
  Offered& file = offered_.emplace(entry.id, Offered{.entry = entry, .path = std::string(entry.path)}).first->second;
  const std::uint64_t max_file = folder_.options().limits.max_file;
  if (max_file != 0 && entry.size > max_file) {
    return settle(entry.id, Outcome::refused,
                  fmt::format("it has {}, and a file may have {}", size_text(entry.size), size_text(max_file)));
  }
  const SplitPath split = split_path(file.path);
  const auto folder = folder_.folder(split.folder, 0777);
  if (!folder) return settle(entry.id, Outcome::refused, fmt::format("its folder: {}", folder.error()));
  const auto there = link_status((*folder)->get(), std::string(split.name).c_str());
  if (!there) return offer_partial(file, now);
  if (!there->is_regular()) return settle(entry.id, Outcome::refused, "what is there of that name is no file");
  if (there->size != entry.size) return take_despite(file, now);
  if (entry.size == 0) return settle(entry.id, Outcome::identical, {});
  file.existing = true;
  await_digests(file, entry.size);
}

// Another file of this name is there.
void Receiver::take_despite(Offered& file, Duration now) {
  switch (folder_.options().existing) {
    case Existing::refuse: return settle(file.entry.id, Outcome::refused, "there is another file of this name");
    case Existing::skip: return settle(file.entry.id, Outcome::skipped, "there is another file of this name");
    case Existing::replace:
    case Existing::rename: return offer_partial(file, now);
  }
}

void Receiver::offer_partial(Offered& file, Duration now) {
  file.existing = false;
  const SplitPath split = split_path(file.path);
  const auto folder = folder_.folder(split.folder);
  if (!folder) return settle(file.entry.id, Outcome::failed, folder.error());
  const auto there = link_status((*folder)->get(), partial_name(split.name).c_str());
  std::uint64_t had = 0;
  if (there) {
    // Whether another connection is at it shows now, and not when its data is under way already.
    const auto partial = open_partial(file.path, false, now);
    if (!partial && partial.error().busy) return settle(file.entry.id, Outcome::busy, {});
    if (!partial) return settle(file.entry.id, Outcome::failed, partial.error().text);
    had = std::min(there->size, file.entry.size);
  }
  const std::uint64_t wanted = file.entry.data - std::min(had, file.entry.data);
  if (const auto room = folder_.admit(wanted_ + wanted); !room) return fail(room.error());
  file.wanted = wanted;
  wanted_ += wanted;
  had > 0 ? await_digests(file, had) : want(file, 0);
}

void Receiver::want(Offered& file, std::uint64_t offset) {
  file.compares = false;
  file.from = offset;
  append(out_, SendFrom{file.entry.id, offset});
}

void Receiver::await_digests(Offered& file, std::uint64_t length) {
  file.compares = true;
  file.had = length;
  ask_again();
  append(out_, Have{file.entry.id, length});
}

void Receiver::ask_again() noexcept {
  ++asked_;
  finish_said_ = false;
}

Receiver::Offered* Receiver::offered(std::uint32_t id) {
  const auto found = offered_.find(id);
  return found == offered_.end() ? nullptr : &found->second;
}

bool Receiver::holds(std::string_view partial_path) const noexcept {
  const auto is_it = [&](const IncomingFile& file, std::uint32_t id) {
    const auto found = offered_.find(id);
    return found != offered_.end() && file.folder() && found->second.path == partial_path;
  };
  return (check_ && is_it(check_->partial, check_->id)) || (checked_ && is_it(checked_->partial, checked_->id)) ||
         (current_ && is_it(current_->file, current_->id));
}

void Receiver::give_way() { fail("another connection sends the same file, and this one was silent"); }

std::expected<IncomingFile, IncomingFile::Error> Receiver::open_partial(const std::string& path, bool create,
                                                                        Duration now) {
  const SplitPath split = split_path(path);
  const auto folder = folder_.folder(split.folder, create ? 0777 : 0);
  if (!folder) return std::unexpected(IncomingFile::Error{false, folder.error()});
  const std::string name = partial_name(split.name);
  auto opened = IncomingFile::open(*folder, name, create);
  if (opened || !opened.error().busy) return opened;
  Receiver* holder = folder_.holder(path);
  if (holder == this) {  // checked, and not begun yet
    if (checked_ && offered(checked_->id) && offered(checked_->id)->path == path) checked_.reset();
  } else if (holder && holder->activity() == Activity::receiving && now - holder->heard_at() > kSilence) {
    holder->give_way();
  } else {
    return opened;
  }
  return IncomingFile::open(*folder, name, create);
}

// ---- Data ----

void Receiver::on(const Begin& begin, Duration now) {
  if (current_ && !current_->drop) return fail("a file begins before the one before it has ended");
  if (begin.id >= next_id_) return fail("a file begins that was not offered");
  current_.reset();
  Offered* file = offered(begin.id);
  if (!file) {  // settled already, which the sender does not know yet
    current_.emplace(Current{.id = begin.id, .drop = true});
    return;
  }
  if (file->compares || begin.offset != file->from) {
    if (begin.offset != 0) return fail("a file begins where it was not asked to");
    // Begun before our answer was known, which is another one: its sender begins anew.
    current_.emplace(Current{.id = begin.id, .drop = true});
    return;
  }
  current_.emplace(Current{.id = begin.id, .since = now});
  if (checked_ && checked_->id == begin.id && checked_->hash.size() == begin.offset) {
    current_->file = std::move(checked_->partial);
    current_->hash = std::move(checked_->hash);
    checked_.reset();
  } else {
    auto opened = open_partial(file->path, true, now);
    if (!opened) {
      const bool is_busy = opened.error().busy;
      return give_up_current(is_busy ? Outcome::busy : Outcome::failed, is_busy ? "" : opened.error().text);
    }
    current_->file = std::move(*opened);
  }
  const bool sparse = file->entry.data < file->entry.size;
  if (auto begun = current_->file.begin(begin.offset, sparse ? 0 : file->entry.size); !begun) {
    return give_up_current(Outcome::failed, fmt::format("cannot write it: {}", begun.error()));
  }
  rehash_to_ = begin.offset;
  if (current_->hash.size() < rehash_to_) work_ = Work::rehash;
}

void Receiver::take_data(std::span<const std::byte> data) {
  if (!current_ || current_->drop) return;
  Offered& file = *offered(current_->id);
  if (data.size() > file.entry.size - current_->file.position() ||
      data.size() > file.entry.data - std::min(current_->data, file.entry.data)) {
    return fail("more came than the file's size");
  }
  if (auto done = current_->file.write(data); !done) {
    return give_up_current(Outcome::failed, fmt::format("cannot write it: {}", done.error()));
  }
  current_->hash.add(data);
  current_->data += data.size();
  written_ += data.size();
  folder_.add_used(data.size());
  const std::uint64_t known = std::min<std::uint64_t>(data.size(), file.wanted);
  file.wanted -= known;
  wanted_ -= known;
}

bool Receiver::on(const End& end, Duration now) {
  if (!current_) {
    fail("a file ends that did not begin");
    return true;
  }
  if (current_->drop) {
    current_.reset();
    return true;
  }
  Offered& file = *offered(current_->id);
  if (current_->file.position() != file.entry.size) {
    fail("a file ends before its size is reached");
    return true;
  }
  if (current_->hash.digest() != end.digest) {  // where they part, the digests of its pieces tell
    current_.reset();
    file.entry.size > 0 ? await_digests(file, file.entry.size) : fail("the digest of nothing is wrong");
    return true;
  }
  if (finishing_.size() >= kMostFinishing) return false;
  ReceiverHost::Verdict verdict;
  if (!accept(*current_, file, verdict, now)) return false;
  std::string path = file.path;
  if (verdict.kind == ReceiverHost::Verdict::Kind::rename) {
    path = verdict.text;
    if (const auto checked = check_path(path); !checked) {
      verdict = {ReceiverHost::Verdict::Kind::refuse, fmt::format("the name that it was given: {}", checked.error())};
    }
  }
  if (verdict.kind == ReceiverHost::Verdict::Kind::refuse) {
    ::unlinkat(current_->file.folder()->get(), current_->file.name().c_str(), 0);
    settle(current_->id, Outcome::refused, verdict.text);
  } else {
    finish(*current_, file, path);
  }
  current_.reset();
  return true;
}

bool Receiver::accept(Current& current, const Offered& file, ReceiverHost::Verdict& verdict, Duration now) {
  const std::string hash = to_hex(current.hash.digest());
  verdict = host_.on_file({.path = file.path,
                           .size = file.entry.size,
                           .new_bytes = current.data,
                           .sha256 = hash,
                           .modified_seconds = file.entry.modified_seconds,
                           .duration = now - current.since});
  asking_ = verdict.kind == ReceiverHost::Verdict::Kind::wait;
  return !asking_;
}

void Receiver::finish(Current& current, const Offered& file, const std::string& path) {
  const SplitPath split = split_path(path);
  const auto folder = folder_.folder(split.folder, 0777);
  if (!folder) return settle(current.id, Outcome::failed, folder.error());
  FinishJob job{.id = current.id,
                .file = {},
                .partial_folder = current.file.folder(),
                .partial = current.file.name(),
                .folder = *folder,
                .name = std::string(split.name),
                .existing = folder_.options().existing,
                .mode = file.entry.mode,
                .modified_seconds = file.entry.modified_seconds,
                .modified_nanoseconds = file.entry.modified_nanoseconds,
                .box = box_};
  job.file = current.file.release();
  finishing_.emplace(current.id, Finishing{.path = path,
                                           .digest = current.hash.digest(),
                                           .size = file.entry.size,
                                           .new_bytes = current.data,
                                           .modified_seconds = file.entry.modified_seconds,
                                           .since = current.since});
  forget(current.id);
  finisher_.submit(std::move(job));
}

void Receiver::collect(Duration now) {
  std::vector<Finished> results;
  {
    const std::lock_guard lock(box_->mutex);
    results.swap(box_->results);
  }
  for (Finished& done : results) {
    const auto found = finishing_.find(done.id);
    if (found == finishing_.end()) continue;
    const Finishing file = std::move(found->second);
    finishing_.erase(found);
    std::string path = file.path;
    if (done.outcome == Outcome::received) {
      const SplitPath split = split_path(file.path);
      path = split.folder.empty() ? done.name : fmt::format("{}/{}", split.folder, done.name);
      ++received_;
    } else {
      ++not_received_;
    }
    host_.on_result({.path = path,
                     .size = file.size,
                     .new_bytes = file.new_bytes,
                     .sha256 = to_hex(file.digest),
                     .modified_seconds = file.modified_seconds,
                     .duration = now - file.since,
                     .outcome = done.outcome,
                     .text = done.text});
    answer(done.id, done.outcome, done.outcome == Outcome::received ? path : done.text);
  }
}

void Receiver::on(const Abandon& abandon) {
  finish_said_ = false;
  if (abandon.id >= next_id_) return fail("a file is given up that was not offered");
  if (current_ && current_->id == abandon.id) current_.reset();
  if (check_ && check_->id == abandon.id) check_.reset();
  if (checked_ && checked_->id == abandon.id) checked_.reset();
  forget(abandon.id);
}

void Receiver::on(const Finish& finish) {
  if (current_ && !current_->drop) return fail("it ends before its files do");
  current_.reset();
  finish_said_ = finish.asked == asked_;  // else it does not know yet of what it may answer with another entry
}

void Receiver::end() {
  // What is in a folder changes the folder's time: the innermost first.
  for (const Folder& one : folders_ | std::views::reverse) {
    const auto folder = folder_.folder(one.path);
    if (!folder) continue;
    if (one.made) (void)::fchmod((*folder)->get(), one.mode);
    (void)set_modified((*folder)->get(), one.modified_seconds, one.modified_nanoseconds);
  }
  append(out_, Progress{written_, Activity::receiving});
  append(out_, Bye{});
  finished_ = true;
}

// ---- Results ----

void Receiver::give_up_current(Outcome outcome, std::string_view text) {
  settle(current_->id, outcome, text);
  const std::uint32_t id = current_->id;
  current_.reset();
  // What is under way of it is read over.
  current_.emplace(Current{.id = id, .drop = true});
}

void Receiver::settle(std::uint32_t id, Outcome outcome, std::string_view text) {
  const auto found = offered_.find(id);
  if (outcome == Outcome::busy) {
    ask_again();
  } else if (found != offered_.end()) {
    if (outcome != Outcome::identical && outcome != Outcome::skipped) ++not_received_;
    host_.on_result({.path = found->second.path,
                     .size = found->second.entry.size,
                     .new_bytes = current_ && current_->id == id ? current_->data : 0,
                     .outcome = outcome,
                     .text = text});
  }
  answer(id, outcome, text);
  forget(id);
}

void Receiver::forget(std::uint32_t id) {
  const auto found = offered_.find(id);
  if (found == offered_.end()) return;
  wanted_ -= found->second.wanted;
  offered_.erase(found);
}

}  // namespace portolan::transfer
