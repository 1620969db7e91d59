// `portolan send` and `portolan receive`. Each prints and answers the exit code.
//
// What they share: the key comes from --key, --key-file or $PORTOLAN_KEY, in this order. The first is seen by everybody who
// lists the processes of the machine.
#pragma once

#include "rudp/options.h"

#include <cstdint>
#include <string>
#include <vector>

namespace portolan {

struct TransferArguments {
  std::string key;
  std::string key_file;
  double rate = 0;  // bytes a second; 0: no bound
  rudp::Congestion congestion = rudp::Congestion::model;
  bool json = false;
  bool quiet = false;
  std::string store;  // a file for the history; empty: none is kept

  // send
  std::vector<std::string> files;  // and, as the last, the place to send to
  bool follow_links = false;
  Duration stall = std::chrono::seconds(10);
  Duration give_up = std::chrono::minutes(5);

  // receive
  std::string folder = ".";
  std::vector<std::string> listen;
  std::vector<std::string> allow;
  std::string existing = "refuse";
  std::int64_t max_file = 0;
  std::int64_t max_transfer = 0;
  std::int64_t max_files = 0;
  std::int64_t quota = 0;
  std::int64_t keep_free = 64 * 1024 * 1024;
  bool once = false;
};

int send_command(const TransferArguments& arguments);
int receive_command(const TransferArguments& arguments);

}  // namespace portolan
