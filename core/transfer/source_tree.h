// What is to be sent: the files and folders that a user has named, walked once before the transfer begins.
//
// A name goes by its last component: `send photos/2026` makes "2026" and what is below it at the receiver. Symbolic links
// that the user names himself are followed; those inside a folder are left out, or followed with `follow_links` (a folder
// that is its own ancestor is left out then). Devices, sockets and FIFOs are left out. What is left out is said.
//
// One thread. Holds about 200 bytes a file.
#pragma once

#include "transfer/protocol.h"

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace portolan::transfer {

struct SourceEntry {
  std::string source;  // to open here
  std::string path;    // what the receiver is told
  EntryKind kind = EntryKind::file;
  std::uint16_t mode = 0;
  std::int64_t modified_seconds = 0;
  std::uint32_t modified_nanoseconds = 0;
  std::uint64_t size = 0;
  std::uint64_t data = 0;  // without holes

  // How far the sender is with it.
  bool settled = false;  // it has a result, or never will
  std::uint8_t tries = 0;
  std::optional<std::uint64_t> kept;  // bytes of data that the receiver had when it was asked first
  Outcome outcome = Outcome::received;
};

struct SourceTree {
  std::vector<SourceEntry> entries;   // a folder before what is in it
  std::vector<std::string> left_out;  // sentences
  std::uint64_t files = 0;
  std::uint64_t data = 0;  // bytes of all files, without holes
};

struct WalkOptions {
  bool follow_links = false;
};

struct WalkError {
  bool absent = false;  // a name that the user gave is not there
  std::string message;
};
std::expected<SourceTree, WalkError> walk(std::span<const std::string> names, const WalkOptions& options);

// What the file is now: its size, its time. False: it cannot be read, or is no file any more.
bool refresh(SourceEntry& entry);

}  // namespace portolan::transfer
