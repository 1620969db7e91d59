#include "rudp/fec_block.h"

#include "base/callback.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace portolan::rudp {

namespace {

using reed_solomon::kMostRepairs;
using reed_solomon::kMostSources;

template <typename Number>
void put(std::byte* to, Number number) noexcept {
  for (std::size_t i = 0; i < sizeof number; ++i) to[i] = static_cast<std::byte>(number >> 8 * (sizeof number - 1 - i));
}

template <typename Number>
Number get(const std::byte* from) noexcept {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) number = number << 8 | std::to_integer<std::uint8_t>(from[i]);
  return static_cast<Number>(number);
}

void write_symbol(std::byte* to, std::uint64_t packet_number, std::span<const std::byte> frames) noexcept {
  put(to, packet_number);
  put(to + sizeof packet_number, static_cast<std::uint16_t>(frames.size()));
  std::ranges::copy(frames, to + kFecPrefix);
}

// A length has 16 bits.
std::size_t allowed_frames(std::size_t max_frames) noexcept {
  return std::clamp<std::size_t>(max_frames, 1, UINT16_MAX);
}

}  // namespace

// ---- Encoder ---------------------------------------------------------------------------------------------------

struct FecEncoder::Block {
  std::uint64_t id = 0;
  std::size_t sources = 0;
  std::size_t repairs = 0;  // while it is open: that can be made; then: that are
  std::size_t size = 0;     // of the longest symbol; of a repair, what is behind it is not yet set
  std::size_t taken = 0;    // repairs
  Duration due{};
  std::vector<std::byte> bytes;
  std::array<std::byte*, kMostRepairs> symbols;  // in it

  std::span<std::byte* const> repair_symbols() const noexcept { return {symbols.data(), repairs}; }
};

FecEncoder::FecEncoder(FecPolicy& policy, const Options& options) : policy_(policy), options_(options) {
  options_.sources = std::clamp<std::size_t>(options.sources, 1, kMostSources);
  options_.max_frames = allowed_frames(options.max_frames);
  closed_.reserve(kMostClosed);
  spare_.reserve(kMostClosed + lanes_.size());
  symbol_.resize(kFecPrefix + options_.max_frames);
}

FecEncoder::~FecEncoder() = default;

bool FecEncoder::open(std::unique_ptr<Block>& lane) noexcept {
  const std::size_t repairs = policy_.repairs(options_.sources);
  if (repairs == 0) return false;
  const std::size_t each = symbol_.size();
  // From `spare_` or new, where memory may be short: then packets go unprotected.
  return contain("forward error correction", [&] {
    if (spare_.empty()) spare_.push_back(std::make_unique<Block>());
    Block& block = *spare_.back();
    if (block.bytes.size() < repairs * each) block.bytes.resize(repairs * each);
    for (std::size_t i = 0; i < repairs; ++i) block.symbols[i] = block.bytes.data() + i * each;
    block.id = next_block_++;
    block.repairs = repairs;
    block.sources = block.size = block.taken = 0;
    lane = std::move(spare_.back());
    spare_.pop_back();
  });
}

std::optional<FecSource> FecEncoder::next() noexcept {
  auto& lane = lanes_[turn_];
  if (lane ? lane->sources == 0 && policy_.repairs(options_.sources) == 0 : !open(lane)) return std::nullopt;
  return FecSource{lane->id, lane->sources};
}

void FecEncoder::add(std::uint64_t packet_number, std::span<const std::byte> frames, Duration now) noexcept {
  auto& lane = lanes_[turn_];
  assert(lane && frames.size() <= options_.max_frames);
  Block& block = *lane;
  write_symbol(symbol_.data(), packet_number, frames);
  const std::span<const std::byte> symbol(symbol_.data(), kFecPrefix + frames.size());
  if (block.size < symbol.size()) {
    for (std::byte* repair : block.repair_symbols())
      std::fill(repair + block.size, repair + symbol.size(), std::byte{});
    block.size = symbol.size();
  }
  reed_solomon::add_source(block.sources, symbol, block.repair_symbols());
  ++statistics_.packets;
  if (block.sources++ == 0) block.due = now + policy_.linger();
  if (block.sources == options_.sources) close(lane);
  turn_ = (turn_ + 1) % policy_.interleave();
}

Duration FecEncoder::deadline() const noexcept {
  Duration first = Duration::max();
  for (const auto& lane : lanes_)
    if (lane && lane->sources > 0) first = std::min(first, lane->due);
  return first;
}

void FecEncoder::close(Duration now) noexcept {
  for (auto& lane : lanes_)
    if (lane && lane->sources > 0 && lane->due <= now) close(lane);
}

void FecEncoder::close_all() noexcept { close(Duration::max()); }

void FecEncoder::close(std::unique_ptr<Block>& lane) noexcept {
  lane->repairs = std::min(lane->repairs, policy_.repairs(lane->sources));
  if (lane->repairs == 0) {
    spare_.push_back(std::move(lane));
    return;
  }
  ++statistics_.blocks;
  if (closed_.size() == kMostClosed) {
    const auto oldest = std::ranges::min_element(closed_, {}, [](const auto& block) { return block->id; });
    statistics_.repairs_dropped += (*oldest)->repairs - (*oldest)->taken;
    release(static_cast<std::size_t>(oldest - closed_.begin()));
  }
  closed_.push_back(std::move(lane));
}

void FecEncoder::release(std::size_t closed) noexcept {
  spare_.push_back(std::move(closed_[closed]));
  closed_.erase(closed_.begin() + static_cast<std::ptrdiff_t>(closed));
}

std::optional<FecRepair> FecEncoder::front() const noexcept {
  if (closed_.empty()) return std::nullopt;
  const Block& block = *closed_.front();
  return FecRepair{.block = block.id,
                   .sources = block.sources,
                   .repairs = block.repairs,
                   .index = block.taken,
                   .symbol = {block.symbols[block.taken], block.size}};
}

void FecEncoder::pop() noexcept {
  assert(!closed_.empty());
  ++statistics_.repairs;
  if (++closed_.front()->taken == closed_.front()->repairs) return release(0);
  // So that a burst takes one of each, as it does of the sources.
  const std::size_t turns = std::min(policy_.interleave(), closed_.size());
  std::rotate(closed_.begin(), closed_.begin() + 1, closed_.begin() + static_cast<std::ptrdiff_t>(turns));
}

// ---- Decoder ---------------------------------------------------------------------------------------------------

struct FecDecoder::Block {
  struct Piece {
    std::size_t offset;  // in `bytes`
    std::size_t size;
  };
  std::uint64_t received = 0;  // sources, a bit each
  std::array<Piece, kMostSources> source;
  std::size_t longest = 0;  // of them
  // What the repairs say; sources 0: none has come.
  std::size_t sources = 0;
  std::size_t repairs = 0;
  std::size_t size = 0;
  std::uint32_t repaired_by = 0;  // repairs, a bit each
  std::array<Piece, kMostRepairs> repair;
  std::vector<std::byte> bytes;

  // While a repair has come.
  std::uint64_t missing() const noexcept { return ~received & ~std::uint64_t{0} >> (kMostSources - sources); }
  void clear() noexcept {
    received = 0;
    longest = sources = repairs = size = 0;
    repaired_by = 0;
    bytes.clear();
  }
  // Room was reserved for it.
  Piece take(std::size_t size_of_it) noexcept {
    const Piece piece{bytes.size(), size_of_it};
    bytes.resize(bytes.size() + size_of_it);
    return piece;
  }
};

struct FecDecoder::Slot {
  std::uint64_t id = 0;
  bool used = false;
  std::unique_ptr<Block> block;  // while it is of use: neither complete nor given up
};

FecDecoder::FecDecoder(const Options& options) : options_(options), slots_(kMostBlocks) {
  options_.max_frames = allowed_frames(options.max_frames);
  spare_.reserve(kMostBlocks);
  recovered_.reserve(kMostRepairs);
}

FecDecoder::~FecDecoder() = default;

// The block's slot, if more of it is wanted.
FecDecoder::Slot* FecDecoder::find(std::uint64_t id) noexcept {
  Slot& slot = slots_[id % kMostBlocks];
  if (slot.used && slot.id == id) return slot.block ? &slot : nullptr;
  if (slot.used && slot.id > id) return nullptr;
  give_up(slot);
  const bool opened = contain("forward error correction", [&] {
    if (spare_.empty()) spare_.push_back(std::make_unique<Block>());
  });
  slot.used = true;
  slot.id = id;
  if (!opened) return nullptr;
  slot.block = std::move(spare_.back());
  spare_.pop_back();
  slot.block->clear();
  return &slot;
}

// What it held stays readable until the next call.
void FecDecoder::finish(Slot& slot) noexcept { spare_.push_back(std::move(slot.block)); }

void FecDecoder::give_up(Slot& slot) noexcept {
  if (!slot.block) return;
  if (slot.block->sources > 0) ++statistics_.blocks_failed;
  finish(slot);
}

FecDecoder::Recovered FecDecoder::refuse(Slot* slot, FecError error) noexcept {
  ++statistics_.refused;
  if (slot) give_up(*slot);
  return std::unexpected(error);
}

// Makes room for so many bytes more. False: there is none, and the block was given up.
bool FecDecoder::reserve(Slot& slot, std::size_t bytes) noexcept {
  std::vector<std::byte>& buffer = slot.block->bytes;
  const std::size_t size = buffer.size() + bytes;
  if (size <= buffer.capacity()) return true;
  const std::size_t wanted = std::max(size, 2 * buffer.capacity());
  const auto fits = [&] { return bytes_ - buffer.capacity() + wanted <= options_.max_bytes; };
  while (!fits() && !spare_.empty()) {
    bytes_ -= spare_.back()->bytes.capacity();
    spare_.pop_back();
  }
  while (!fits()) {
    Slot* oldest = nullptr;
    for (Slot& other : slots_)
      if (other.block && &other != &slot && (!oldest || other.id < oldest->id)) oldest = &other;
    if (!oldest) break;
    give_up(*oldest);
    bytes_ -= spare_.back()->bytes.capacity();
    spare_.pop_back();
  }
  const std::size_t before = buffer.capacity();
  const bool done = fits() && contain("forward error correction", [&] { buffer.reserve(wanted); });
  bytes_ += buffer.capacity() - before;
  if (!done) give_up(slot);
  return done;
}

FecDecoder::Recovered FecDecoder::on_source(const FecSource& place, std::uint64_t packet_number,
                                            std::span<const std::byte> frames) noexcept {
  if (place.index >= kMostSources || frames.size() > options_.max_frames) return refuse(nullptr, FecError::field);
  Slot* slot = find(place.block);
  if (!slot) return {};
  Block& block = *slot->block;
  const std::size_t size = kFecPrefix + frames.size();
  if (block.received >> place.index & 1) {
    const bool same = get<std::uint64_t>(&block.bytes[block.source[place.index].offset]) == packet_number;
    return same ? Recovered() : refuse(slot, FecError::contradiction);
  }
  if (block.sources > 0 && (place.index >= block.sources || size > block.size))
    return refuse(slot, FecError::contradiction);
  if (!reserve(*slot, size)) return {};
  const Block::Piece piece = block.source[place.index] = block.take(size);
  write_symbol(&block.bytes[piece.offset], packet_number, frames);
  block.received |= std::uint64_t{1} << place.index;
  block.longest = std::max(block.longest, size);
  return recover(*slot);
}

FecDecoder::Recovered FecDecoder::on_repair(const FecRepair& repair) noexcept {
  if (repair.sources == 0 || repair.sources > kMostSources || repair.repairs == 0 || repair.repairs > kMostRepairs ||
      repair.index >= repair.repairs || repair.symbol.size() < kFecPrefix ||
      repair.symbol.size() > kFecPrefix + options_.max_frames)
    return refuse(nullptr, FecError::field);
  Slot* slot = find(repair.block);
  if (!slot) return {};
  Block& block = *slot->block;
  if (block.sources == 0) {
    const auto highest = static_cast<std::size_t>(std::bit_width(block.received));  // and one
    if (highest > repair.sources || block.longest > repair.symbol.size()) return refuse(slot, FecError::contradiction);
    block.sources = repair.sources;
    block.repairs = repair.repairs;
    block.size = repair.symbol.size();
    if (block.missing() == 0) return recover(*slot);
  } else if (block.sources != repair.sources || block.repairs != repair.repairs || block.size != repair.symbol.size()) {
    return refuse(slot, FecError::contradiction);
  }
  const std::uint32_t bit = std::uint32_t{1} << repair.index;
  if (block.repaired_by & bit) return {};
  if (!reserve(*slot, block.size)) return {};
  const Block::Piece piece = block.repair[repair.index] = block.take(block.size);
  std::ranges::copy(repair.symbol, &block.bytes[piece.offset]);
  block.repaired_by |= bit;
  return recover(*slot);
}

FecDecoder::Recovered FecDecoder::recover(Slot& slot) noexcept {
  Block& block = *slot.block;
  if (block.sources == 0) return {};
  const std::uint64_t missing = block.missing();
  const auto count = static_cast<std::size_t>(std::popcount(missing));
  if (count == 0) {
    ++statistics_.blocks_whole;
    finish(slot);
    return {};
  }
  if (static_cast<std::size_t>(std::popcount(block.repaired_by)) < count) return {};
  if (!reserve(slot, count * block.size)) return {};

  std::array<std::span<std::byte>, kMostSources> sources;
  for (std::size_t i = 0; i < block.sources; ++i) {
    if (missing >> i & 1) block.source[i] = block.take(block.size);
    sources[i] = {&block.bytes[block.source[i].offset], block.source[i].size};
  }
  std::array<reed_solomon::Repair, kMostRepairs> repairs;
  std::size_t found = 0;
  for (std::size_t i = 0; found < count; ++i)
    if (block.repaired_by >> i & 1) repairs[found++] = {i, &block.bytes[block.repair[i].offset]};
  reed_solomon::recover({sources.data(), block.sources}, missing, {repairs.data(), count}, block.size);

  recovered_.clear();
  for (std::size_t i = 0; i < block.sources; ++i) {
    if (!(missing >> i & 1)) continue;
    const std::span<const std::byte> symbol = sources[i];
    const std::size_t length = get<std::uint16_t>(&symbol[sizeof(std::uint64_t)]);
    const auto is_zero = [](std::byte value) { return value == std::byte{}; };
    if (length > symbol.size() - kFecPrefix || !std::ranges::all_of(symbol.subspan(kFecPrefix + length), is_zero))
      return refuse(&slot, FecError::contradiction);
    recovered_.push_back({get<std::uint64_t>(symbol.data()), symbol.subspan(kFecPrefix, length)});
  }
  statistics_.packets_recovered += count;
  ++statistics_.blocks_recovered;
  finish(slot);
  return std::span<const Packet>(recovered_);
}

}  // namespace portolan::rudp
