// The receiving side of a transfer, over one ordered stream. No network: bytes come in and go out; files are written here.
//
// Made for one connection. Nothing of it is kept when it ends but what lies in the folder: partial files (incoming_file.h),
// from which the next one goes on. One thread. Calls do bounded pieces of work; what is longer (hashing what is there) is
// done piece by piece by step, and nothing is received meanwhile.
//
// Believes nothing of what it is told: names (path_name.h), sizes, numbers of files, digests. A sender that breaks the
// protocol, or a limit that is of the whole transfer, ends it with a sentence (Refused); what is wrong with one file ends that
// file.
#pragma once

#include "plugin/descriptor.h"
#include "plugin/kept.h"
#include "transfer/finisher.h"
#include "transfer/incoming_file.h"
#include "transfer/protocol.h"
#include "transfer/receive_folder.h"

#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace portolan::transfer {

// A file and what became of it. Views: valid during the call.
struct FileReport {
  std::string_view path;  // as its sender calls it; what it got in the end, once it is received
  std::uint64_t size = 0;
  std::uint64_t new_bytes = 0;   // that came in this connection
  std::string_view sha256 = {};  // of the whole; empty: it did not come so far
  std::int64_t modified_seconds = 0;
  Duration duration{};  // since its first byte
  Outcome outcome = Outcome::received;
  std::string_view text = {};
};

// The row of the store's history that it makes. Its views are those of `file`, and of `peer`.
KeptTransfer row_of(const FileReport& file, std::string_view peer) noexcept;

class ReceiverHost {
 public:
  struct Verdict {
    enum class Kind : std::uint8_t { accept, refuse, rename, wait };
    Kind kind = Kind::accept;
    std::string text = {};  // the reason, or the new path
  };
  // The file is whole and verified, and may get its name. With `wait`, receive returns with the message that led here
  // unconsumed, and comes here again when it is called again.
  virtual Verdict on_file(const FileReport&) noexcept { return {}; }
  virtual void on_result(const FileReport&) noexcept {}
  // A transfer begins; `files` and `bytes` are what the sender says.
  virtual void on_hello(std::uint64_t files, std::uint64_t bytes) noexcept {
    (void)files;
    (void)bytes;
  }

 protected:
  ~ReceiverHost() = default;
};

class Receiver {
 public:
  Receiver(ReceiveFolder& folder, Finisher& finisher, ReceiverHost& host, Duration now);
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  // Bytes from the sender; answers how many are done with, the rest comes again in front of what follows. Also to be called,
  // with what is left, after step and collect.
  std::size_t receive(std::span<const std::byte> bytes, Duration now);
  // There is work to be done before more can be received: call step until there is none.
  bool busy() const noexcept { return work_ != Work::none; }
  void step(Duration now);
  // What comes next has to wait for files that are being synced: for collect.
  bool waits_for_finisher() const noexcept { return finishing_.size() >= kMostFinishing; }
  // The finisher has called: results are taken.
  void collect(Duration now);
  // Appends what is to be sent.
  void produce(std::vector<std::byte>& out, Duration now);
  Duration deadline() const noexcept;

  // The end: of all in order (finished), or not (failure, a sentence; what was to be said of it is produced first).
  bool finished() const noexcept { return finished_; }
  const std::string& failure() const noexcept { return failure_; }
  std::uint64_t new_bytes() const noexcept { return written_; }
  std::uint64_t files_received() const noexcept { return received_; }
  std::uint64_t files_not_received() const noexcept { return not_received_; }
  Activity activity() const noexcept;

  // For the folder: whether it holds this partial file, and since when it has not heard of its sender.
  bool holds(std::string_view partial_path) const noexcept;
  Duration heard_at() const noexcept { return heard_at_; }
  // Another connection wants what this one holds, and this one's sender is silent.
  void give_way();

 private:
  static constexpr std::size_t kMostFinishing = 64;  // each has its file open
  enum class Work : std::uint8_t { none, compare, rehash, zeros };
  struct Offered {
    Entry entry = {};  // its path is in `path`
    std::string path;
    bool existing = false;     // what is compared is a file in its place, not a partial one
    bool compares = false;     // digests are awaited
    std::uint64_t had = 0;     // bytes to be compared
    std::uint64_t from = 0;    // where the sender was told to begin
    std::uint64_t wanted = 0;  // bytes that are still to come
  };
  // A file that is here, hashed from its beginning.
  struct Reading {
    std::uint32_t id = 0;
    IncomingFile partial;  // or
    UniqueFd existing;
    FileHash hash;
  };
  struct Current {
    std::uint32_t id = 0;
    IncomingFile file;
    FileHash hash;
    std::uint64_t data = 0;  // bytes received in this connection
    Duration since{};
    bool drop = false;  // it has its result already: what comes is read over
  };
  struct Folder {
    std::string path;
    std::uint16_t mode = 0;
    std::int64_t modified_seconds = 0;
    std::uint32_t modified_nanoseconds = 0;
    bool made = false;
  };
  struct Finishing {  // with the finisher
    std::string path;
    Digest digest{};
    std::uint64_t size = 0;
    std::uint64_t new_bytes = 0;
    std::int64_t modified_seconds = 0;
    Duration since{};
  };

  // False: the message stays, and comes again.
  bool handle(const Message& message, Duration now);
  void on(const Hello& hello);
  void on(const Entry& entry, Duration now);
  void on(const Prefix& prefix, Duration now);
  void on(const Begin& begin, Duration now);
  bool on(const End& end, Duration now);
  void on(const Abandon& abandon);
  void on(const Finish& finish);
  void take_folder(const Entry& entry);
  void take_file(const Entry& entry, Duration now);
  void take_despite(Offered& offered, Duration now);
  void offer_partial(Offered& offered, Duration now);
  void want(Offered& offered, std::uint64_t offset);
  void await_digests(Offered& offered, std::uint64_t length);
  bool open_check(Offered& offered, Duration now);
  void compare_step(Duration now);
  void settle_check(std::uint64_t matched, Duration now);
  void rehash_step();
  void zeros_step();
  void take_data(std::span<const std::byte> data);
  bool accept(Current& current, const Offered& offered, ReceiverHost::Verdict& verdict, Duration now);
  // A finish that was said is void: another entry may follow.
  void ask_again() noexcept;
  // Once every entry has its result.
  void end();
  void finish(Current& current, const Offered& offered, const std::string& path);
  std::expected<IncomingFile, IncomingFile::Error> open_partial(const std::string& path, bool create, Duration now);
  Offered* offered(std::uint32_t id);
  void give_up_current(Outcome outcome, std::string_view text);
  void forget(std::uint32_t id);
  void settle(std::uint32_t id, Outcome outcome, std::string_view text);
  void answer(std::uint32_t id, Outcome outcome, std::string_view text) { append(out_, Result{id, outcome, text}); }
  void fail(std::string_view why);

  ReceiveFolder& folder_;
  Finisher& finisher_;
  ReceiverHost& host_;
  std::shared_ptr<FinishedBox> box_ = std::make_shared<FinishedBox>();
  std::vector<std::byte> out_;  // answers
  std::unordered_map<std::uint32_t, Offered> offered_;
  std::unordered_map<std::uint32_t, Finishing> finishing_;
  std::vector<Folder> folders_;
  std::optional<Reading> check_;    // being compared
  std::optional<Reading> checked_;  // found to be the beginning of its file: sent next, usually
  std::vector<std::byte> digests_;  // still to be compared
  std::size_t compared_ = 0;
  std::optional<Current> current_;
  std::uint64_t rehash_to_ = 0;
  std::uint64_t zeros_left_ = 0;
  std::size_t data_left_ = 0;  // of a message that has begun
  Work work_ = Work::none;
  std::uint32_t next_id_ = 0;
  std::uint64_t entries_ = 0;
  std::uint64_t wanted_ = 0;  // bytes that are still to come, of all that was offered
  std::uint64_t written_ = 0;
  std::uint64_t told_ = 0;  // of written_
  std::uint64_t received_ = 0;
  std::uint64_t not_received_ = 0;
  Duration told_at_{};
  Duration heard_at_{};
  bool greeted_ = false;
  bool asking_ = false;
  bool finish_said_ = false;  // and is not void: no entry may follow any more
  std::uint32_t asked_ = 0;   // as in Finish
  bool finished_ = false;
  std::string failure_;
};

}  // namespace portolan::transfer
