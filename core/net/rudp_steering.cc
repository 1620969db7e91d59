#include "rudp_steering.h"

#include "rudp/frames.h"

#include <linux/filter.h>
#include <sys/socket.h>

#include <array>

namespace portolan {

bool steer_rudp(int descriptor, unsigned places) noexcept {
  using namespace rudp::packet_type;
  constexpr unsigned kHeader = 1 + 8;
  constexpr unsigned kByAddresses = 0xffffffff;  // no socket has this number
  std::array<sock_filter, 9> program = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kHeader, 0, 6),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kDataMask),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kData, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kHeader - 4),  // the lowest 32 bits of the id
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, places),
      BPF_STMT(BPF_RET | BPF_A, 0),
      BPF_STMT(BPF_RET | BPF_K, kByAddresses),
  }};
  const sock_fprog attached = {.len = static_cast<unsigned short>(program.size()), .filter = program.data()};
  return setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached) == 0;
}

}  // namespace portolan
