#include "transfer/sender.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace portolan::transfer {
namespace {

constexpr Duration kPingEvery = std::chrono::milliseconds(500);
constexpr Duration kBusyWait = std::chrono::milliseconds(500);
constexpr std::size_t kOutputPiece = 64 * 1024;  // of entries in one call
constexpr std::uint64_t kHashPiece = 1024 * 1024;
constexpr std::uint64_t kZeroPiece = 4 * 1024 * 1024;  // of a hole: nothing is read
// Of a file that was not asked for: what a connection may send at first (RFC 9002, section 7.2), and little to lose.
constexpr std::uint64_t kUnasked = 16 * 1024;
constexpr std::uint8_t kMostTries = 3;
constexpr std::uint8_t kMostRounds = 4;

}  // namespace

Sender::Sender(SourceTree& tree, const TransferId& transfer, SenderEvents& events)
    : tree_(tree), transfer_(transfer), events_(events) {}

bool Sender::fail(std::string_view why) {
  if (failure_.empty()) failure_ = why;
  return false;
}

// ---- What comes ----

std::size_t Sender::receive(std::span<const std::byte> bytes, Duration now) {
  std::size_t used = 0;
  while (failure_.empty() && !finished_) {
    const auto parsed = parse(bytes.subspan(used));
    if (!parsed) {
      fail(fmt::format("the other side does not speak this protocol: {}", parsed.error()));
      break;
    }
    if (!*parsed) return used;
    used += (*parsed)->size;
    handle((*parsed)->message, now);
  }
  return bytes.size();
}

bool Sender::handle(const Message& message, Duration now) {
  return std::visit(
      [&]<typename One>(const One& one) -> bool {
        if constexpr (std::is_same_v<One, Welcome>) {
          ++state_.signs_of_life;
        } else if constexpr (std::is_same_v<One, Refused>) {
          refused_ = true;
          fail(one.why);
        } else if constexpr (std::is_same_v<One, Have> || std::is_same_v<One, SendFrom> ||
                             std::is_same_v<One, Result>) {
          if (one.id >= next_id_) return fail("the receiver answers what was not asked");
          const auto found = open_.find(one.id);
          if constexpr (std::is_same_v<One, Have>) {
            ask_again();
          } else if constexpr (std::is_same_v<One, Result>) {
            if (one.outcome == Outcome::busy) ask_again();
          }
          if (found == open_.end()) return true;  // given up meanwhile
          ++state_.signs_of_life;
          SourceEntry& entry = tree_.entries[found->second.index];
          if constexpr (std::is_same_v<One, Have>) {
            if (one.length == 0 || one.length > entry.size) return fail("the receiver has more than there is");
            answered(one.id, {});
            ++found->second.rounds;
            found->second.had = one.length;
            checks_.push_back({one.id, one.length});
          } else if constexpr (std::is_same_v<One, SendFrom>) {
            if (one.offset > entry.size) return fail("the receiver has more than there is");
            const std::uint64_t kept = std::min(one.offset, entry.data);
            state_.kept += kept;
            if (!entry.kept) entry.kept = kept;
            if (one.offset < found->second.had) {
              events_.on_note(entry, fmt::format("of the {} bytes that the receiver has, {} are of this version",
                                                 found->second.had, one.offset));
            }
            forget_check(one.id);
            if (!answered(one.id, one.offset)) ready_.push_back({one.id, one.offset});
          } else {
            on(one, now);
          }
        } else if constexpr (std::is_same_v<One, Progress>) {
          if (one.bytes != state_.confirmed || one.activity != Activity::receiving) ++state_.signs_of_life;
          state_.confirmed = one.bytes;
          state_.activity = one.activity;
        } else if constexpr (std::is_same_v<One, Bye>) {
          if (!finish_sent_ || !open_.empty()) return fail("the receiver ends before it has everything");
          finished_ = true;
        } else {
          return fail("the other side sends files, too: it takes none");
        }
        return true;
      },
      message);
}

void Sender::on(const Result& result, Duration now) {
  answered(result.id, {});
  const std::size_t index = open_.at(result.id).index;
  if (result.outcome == Outcome::busy) {
    open_.erase(result.id);
    again_.push_back({now + kBusyWait, index});
    return;
  }
  if (result.outcome == Outcome::identical) state_.kept += tree_.entries[index].data;
  settle(result.id, result.outcome, result.text);
}

bool Sender::answered(std::uint32_t id, std::optional<std::uint64_t> offset) {
  if (unasked_ != id) return false;
  unasked_.reset();
  if (offset == 0) return true;
  std::erase_if(ready_, [id](const Offset& one) { return one.id == id; });
  if (current_ && current_->id == id) current_.reset();
  return false;
}

void Sender::settle(std::uint32_t id, Outcome outcome, std::string_view text) {
  SourceEntry& entry = entry_of(id);
  open_.erase(id);
  entry.settled = true;
  entry.outcome = outcome;
  events_.on_result(entry, text);
}

// ---- What goes ----

bool Sender::produce(std::vector<std::byte>& out, Duration now) {
  if (!failure_.empty() || finished_) return false;
  const std::size_t before = out.size();
  if (!std::exchange(greeted_, true)) {
    Hello hello{.transfer = transfer_};
    for (const SourceEntry& entry : tree_.entries) {
      if (entry.settled || entry.kind != EntryKind::file) continue;
      ++hello.files;
      hello.bytes += entry.data;
    }
    append(out, hello);
  }
  while (!again_.empty() && again_.front().at <= now && open_.size() < kMaxOpen) {
    const std::size_t index = again_.front().index;
    again_.pop_front();
    offer(index, out);
  }
  offer_entries(out);
  bool worked = check_step(out, now);
  worked = send_step(out, now) || worked;
  // Before the results are there: the last of them and the end then take one round trip and not two.
  if (!finish_sent_ && next_ == tree_.entries.size() && again_.empty() && ready_.empty() && checks_.empty()) {
    append(out, Finish{asked_});
    finish_sent_ = true;
  }
  if (out.size() == before && now - last_out_ >= kPingEvery) append(out, Ping{});
  if (out.size() != before) last_out_ = now;
  return worked || out.size() != before;
}

Duration Sender::deadline() const noexcept {
  if (!failure_.empty() || finished_) return Duration::max();
  const Duration ping = last_out_ + kPingEvery;
  return again_.empty() ? ping : std::min(ping, again_.front().at);
}

void Sender::offer_entries(std::vector<std::byte>& out) {
  const std::size_t end = out.size() + kOutputPiece;
  for (; next_ < tree_.entries.size() && open_.size() < kMaxOpen && out.size() < end; ++next_) {
    const SourceEntry& entry = tree_.entries[next_];
    // Folders come again with every connection: it is there that their times are set at the end.
    if (entry.settled && entry.kind == EntryKind::file) continue;
    offer(next_, out);
  }
}

void Sender::offer(std::size_t index, std::vector<std::byte>& out) {
  const SourceEntry& entry = tree_.entries[index];
  open_.emplace(next_id_, Open{.index = index});
  append(out, Entry{.id = next_id_++,
                    .kind = entry.kind,
                    .mode = entry.mode,
                    .modified_seconds = entry.modified_seconds,
                    .modified_nanoseconds = entry.modified_nanoseconds,
                    .size = entry.size,
                    .data = entry.data,
                    .path = entry.path});
  if (entry.kind != EntryKind::file || entry.size == 0 || std::exchange(guessed_, true) || entry.kept) return;
  unasked_ = next_id_ - 1;
  ready_.push_back({*unasked_, 0});
}

std::optional<Sender::Reading> Sender::open(std::uint32_t id, std::vector<std::byte>& out, Duration now) {
  const SourceEntry& entry = entry_of(id);
  auto file = SourceFile::open(entry.source);
  if (!file) {
    abandon(id, file.error(), false, out, now);
    return std::nullopt;
  }
  const FileStatus& status = file->opened_as();
  if (status.size != entry.size || status.modified_seconds != entry.modified_seconds ||
      status.modified_nanoseconds != entry.modified_nanoseconds || file->data_bytes() != entry.data) {
    abandon(id, "it has changed", true, out, now);
    return std::nullopt;
  }
  return Reading{.id = id, .file = std::move(*file), .hash = FileHash()};
}

void Sender::abandon(std::uint32_t id, std::string_view why, bool again, std::vector<std::byte>& out, Duration now) {
  append(out, Abandon{.id = id, .why = why});
  finish_sent_ = false;
  if (unasked_ == id) unasked_.reset();
  const std::size_t index = open_.at(id).index;
  SourceEntry& entry = tree_.entries[index];
  forget_check(id);
  std::erase_if(ready_, [id](const Offset& one) { return one.id == id; });
  if (checked_ && checked_->id == id) checked_.reset();
  if (current_ && current_->id == id) current_.reset();
  if (!again) return settle(id, Outcome::failed, why);
  if (++entry.tries >= kMostTries) return settle(id, Outcome::failed, "it changes again and again while it is sent");
  if (!refresh(entry)) return settle(id, Outcome::failed, "it is no longer there");
  events_.on_note(entry, fmt::format("{}: it is sent anew", why));
  open_.erase(id);
  again_.push_back({now, index});
}

void Sender::forget_check(std::uint32_t id) {
  std::erase_if(checks_, [id](const Offset& one) { return one.id == id; });
  if (check_ && check_->id == id) check_.reset();
}

bool Sender::hash_step(Reading& reading, std::uint64_t end) {
  std::uint64_t budget = kHashPiece;
  while (reading.hash.size() < end && budget > 0) {
    const std::uint64_t at = reading.hash.size();
    const SourceFile::Extent extent = reading.file.extent(at);
    if (extent.hole) {
      reading.hash.add_zeros(std::min({extent.size, end - at, kZeroPiece}));
      return true;
    }
    std::byte piece[64 * 1024];
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>({sizeof piece, extent.size, end - at, budget}));
    const auto got = reading.file.read(at, std::span(piece).first(want));
    if (!got || *got == 0) return false;
    reading.hash.add(std::span(piece).first(*got));
    budget -= *got;
  }
  return true;
}

// Tells digests of what the receiver has, one piece after the other.
bool Sender::check_step(std::vector<std::byte>& out, Duration now) {
  if (checks_.empty()) return false;
  const auto [id, length] = checks_.front();
  if (!open_.contains(id)) {
    checks_.pop_front();
    check_.reset();
    return true;
  }
  if (!check_) {
    if (open_.at(id).rounds > kMostRounds) {
      abandon(id, "both sides do not come to the same bytes", false, out, now);
      return true;
    }
    check_ = open(id, out, now);
    digests_.clear();
    first_digest_ = 0;
    if (!check_) return true;
  }
  const std::uint64_t end = std::min(length, (check_->hash.size() / kCheckEvery + 1) * kCheckEvery);
  if (!hash_step(*check_, end)) {
    abandon(id, "it has changed", true, out, now);
    return true;
  }
  if (check_->hash.size() < end) return true;
  const Digest digest = check_->hash.digest();
  digests_.insert(digests_.end(), digest.begin(), digest.end());
  // Early and often enough that the receiver compares while this side reads on.
  if (end == length || digests_.size() >= 8 * sizeof(Digest)) {
    append(out, Prefix{.id = id, .first = first_digest_, .digests = digests_});
    first_digest_ += digests_.size() / sizeof(Digest);
    digests_.clear();
  }
  if (end == length) {
    checked_ = std::exchange(check_, std::nullopt);
    checks_.pop_front();
  }
  return true;
}

bool Sender::send_step(std::vector<std::byte>& out, Duration now) {
  if (ready_.empty()) return false;
  const auto [id, offset] = ready_.front();
  if (!open_.contains(id)) {  // the receiver has given it up
    ready_.pop_front();
    current_.reset();
    return true;
  }
  if (!current_) {
    begun_ = false;
    if (checked_ && checked_->id == id && checked_->hash.size() == offset) {
      current_ = std::exchange(checked_, std::nullopt);
    } else {
      current_ = open(id, out, now);
    }
    if (!current_) return true;
  }
  if (!begun_) {
    if (!hash_step(*current_, offset)) {
      abandon(id, "it has changed", true, out, now);
      return true;
    }
    if (current_->hash.size() < offset) return true;
    append(out, Begin{.id = id, .offset = offset});
    begun_ = true;
  }
  return send_piece(out, now);
}

bool Sender::send_piece(std::vector<std::byte>& out, Duration now) {
  const std::uint32_t id = current_->id;
  const std::uint64_t size = entry_of(id).size;
  const std::uint64_t at = current_->hash.size();
  if (at == size) {
    if (!current_->file.unchanged()) {
      abandon(id, "it has changed", true, out, now);
      return true;
    }
    append(out, End{current_->hash.digest()});
    current_.reset();
    ready_.pop_front();
    return true;
  }
  const bool unasked = unasked_ == id;
  if (unasked && at >= kUnasked) return false;
  const SourceFile::Extent extent = current_->file.extent(at);
  if (extent.hole) {
    const std::uint64_t zeros = std::min(extent.size, kZeroPiece);
    current_->hash.add_zeros(zeros);
    append(out, Hole{zeros});
    return true;
  }
  const auto want =
      static_cast<std::size_t>(std::min<std::uint64_t>({kMaxData, extent.size, unasked ? kUnasked - at : kMaxData}));
  const std::size_t start = out.size();
  append(out, Data{want});
  out.resize(start + kHeader + want);
  const auto piece = std::span(out).subspan(start + kHeader);
  const auto got = current_->file.read(at, piece);
  if (!got || *got < want) {
    out.resize(start);
    got ? abandon(id, "it has changed", true, out, now) : abandon(id, got.error(), false, out, now);
    return true;
  }
  current_->hash.add(piece);
  state_.sent += want;
  return true;
}

}  // namespace portolan::transfer
