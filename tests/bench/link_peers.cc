#include "link_peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>

#include "servers.h"

namespace portolan::bench {
namespace {

namespace fs = std::filesystem;

// Debian's sshd wants a directory in /run, which it gets in a mount namespace of its own.
constexpr std::string_view kSshd =
    "exec unshare -m sh -c 'mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -f {keys}/sshd.conf'";
constexpr std::string_view kScp =
    "exec scp -q -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
    "-o ProxyUseFdpass=yes -o 'ProxyCommand={bench}/link_tcp pass %h %p cubic' "
    "-i {keys}/user -P {port} {send} {host}:{into}/payload";
constexpr std::string_view kSshdFile = R"(Port {port}
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
)";
constexpr std::string_view kGtlsServer =
    "exec /usr/sbin/gtlsserver -q --cc=bbr -d {served} {host} {port} {keys}/tls.key {keys}/tls.pem";
constexpr std::string_view kGtlsClient =
    "exec /usr/bin/gtlsclient -q --no-quic-dump --no-http-dump --exit-on-all-streams-close --cc=bbr --download={into} "
    "{host} "
    "{port} https://{host}/payload";
constexpr int kPort = 7001;

const LinkPeer kOurs{"ours",
                     "portolan",
                     Sender::kNear,
                     "exec {portolan} send {send} {host}:{port}",
                     "exec {portolan} receive {into} --listen {host}:{port}",
                     {"{portolan}"}};
// The transport alone: no manifest, no chunk hashes, no sync of what is written. As link_peer.h has it.
const LinkPeer kBulk{"bulk",
                     "rudp alone",
                     Sender::kNear,
                     "exec {bench}/link_rudp send {send} {host} {port}",
                     "exec {bench}/link_rudp receive {into}/payload {port}",
                     {"{bench}/link_rudp"}};
// As ngtcp2 it encrypts, which TCP here does not: 12 bytes more in each packet.
const LinkPeer kBulkKey{"bulk-key",
                        "rudp, a key",
                        Sender::kNear,
                        "exec {bench}/link_rudp send {send} {host} {port} key",
                        "exec {bench}/link_rudp receive {into}/payload {port} key",
                        {"{bench}/link_rudp"}};
const LinkPeer kNgtcp2{"ngtcp2",    "ngtcp2, BBR", Sender::kFar,
                       kGtlsClient, kGtlsServer,   {"/usr/sbin/gtlsserver", "/usr/bin/gtlsclient", "/usr/bin/openssl"}};

LinkPeer tcp_peer(std::string_view key, std::string_view label, std::string_view near, std::string_view far) {
  return {key, label, Sender::kNear, near, far, {"{bench}/link_tcp"}};
}

bool run_quietly(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

}  // namespace

const std::vector<LinkPeer>& LinkPeers::of_files() {
  static const std::vector<LinkPeer> peers{
      kOurs,
      kBulk,
      kBulkKey,
      tcp_peer("bbr", "TCP BBR", "exec {bench}/link_tcp send {send} {host} {port} bbr",
               "exec {bench}/link_tcp receive {into}/payload {port} bbr"),
      tcp_peer("cubic", "TCP CUBIC", "exec {bench}/link_tcp send {send} {host} {port} cubic",
               "exec {bench}/link_tcp receive {into}/payload {port} cubic"),
      kNgtcp2,
      {"enet",
       "ENet",
       Sender::kNear,
       "exec {bench}/link_enet send {send} {host} {port}",
       "exec {bench}/link_enet receive {into}/payload {port}",
       {"{bench}/link_enet"}},
      {"udt",
       "UDT4",
       Sender::kNear,
       "exec {bench}/link_udt send {send} {host} {port}",
       "exec {bench}/link_udt receive {into}/payload {port}",
       {"{bench}/link_udt"}},
      {"scp",
       "scp, CUBIC",
       Sender::kNear,
       kScp,
       kSshd,
       {"{bench}/link_tcp", "/usr/sbin/sshd", "/usr/bin/scp", "/usr/bin/ssh-keygen"}},
  };
  return peers;
}

const std::vector<LinkPeer>& LinkPeers::of_messages() {
  static const std::vector<LinkPeer> peers{
      {"ours",
       "portolan, FEC",
       Sender::kNear,
       "exec {bench}/link_rudp say {count} {host} {port} fec",
       "exec {bench}/link_rudp hear {into}/payload {port} fec",
       {"{bench}/link_rudp"}},
      {"ours",
       "portolan, no FEC",
       Sender::kNear,
       "exec {bench}/link_rudp say {count} {host} {port} none",
       "exec {bench}/link_rudp hear {into}/payload {port} none",
       {"{bench}/link_rudp"}},
      tcp_peer("bbr", "TCP BBR", "exec {bench}/link_tcp say {count} {host} {port} bbr",
               "exec {bench}/link_tcp hear {into}/payload {port} bbr"),
      tcp_peer("cubic", "TCP CUBIC", "exec {bench}/link_tcp say {count} {host} {port} cubic",
               "exec {bench}/link_tcp hear {into}/payload {port} cubic"),
      {"enet",
       "ENet, reliable",
       Sender::kNear,
       "exec {bench}/link_enet say {count} {host} {port}",
       "exec {bench}/link_enet hear {into}/payload {port}",
       {"{bench}/link_enet"}},
  };
  return peers;
}

const std::vector<LinkPeer>& LinkPeers::of_loopback() {
  static const std::vector<LinkPeer> peers{
      kOurs,
      kBulk,
      kBulkKey,
      kNgtcp2,
      // A packet's worth at a time, as fast as it goes; what the socket has no room for is lost, and not counted.
      {"iperf3",
       "iperf3 UDP",
       Sender::kNear,
       "exec iperf3 -c {host} -p {port} -u -b 0 -l 1450 -n {bytes} -J --logfile {into}/iperf3.json",
       "exec iperf3 -s -1 -p {port}",
       {"/usr/bin/iperf3"}},
  };
  return peers;
}

LinkPeers::LinkPeers(const Options& options) : options_(options), into_(directory_.path() + "/received") {
  fs::create_directory(directory_.path() + "/served");
  fs::create_directory(directory_.path() + "/keys");
  make_keys();
  clear_received();
}

void LinkPeers::make_keys() const {
  const std::string keys = directory_.path() + "/keys";
  run_quietly(
      fmt::format("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=link "
                  "-keyout {0}/tls.key -out {0}/tls.pem",
                  keys));
  for (const char* name : {"host", "user"}) {
    run_quietly(fmt::format("ssh-keygen -q -t ed25519 -N '' -f {}/{}", keys, name));
  }
  write_file(keys + "/sshd.conf", fmt::format(kSshdFile, fmt::arg("port", kPort), fmt::arg("keys", keys)));
}

std::string LinkPeers::fill(std::string_view command, const LinkConditions& conditions) const {
  const std::string& root = directory_.path();
  const std::string link_host = conditions.loopback ? "127.0.0.1" : kFarHost;
  const auto bytes = static_cast<long long>(payload_bytes_);
  return fmt::format(fmt::runtime(command), fmt::arg("bench", options_.directory),
                     fmt::arg("portolan", options_.portolan), fmt::arg("send", root + "/served/payload"),
                     fmt::arg("served", root + "/served"), fmt::arg("into", into_), fmt::arg("keys", root + "/keys"),
                     fmt::arg("host", link_host), fmt::arg("port", kPort), fmt::arg("bytes", bytes),
                     // A message every 10 ms for as long as the limit allows, but for its last seconds.
                     fmt::arg("count", std::max(100, static_cast<int>((conditions.limit_seconds - 5) * 100))));
}

std::string LinkPeers::unavailable(const LinkPeer& peer) const {
  for (const std::string_view program : peer.programs) {
    const std::string path = fill(program, {});
    if (!executable(path)) return path.starts_with("/usr/") ? "not installed" : "not built";
  }
  if (peer.key == "ours" && peer.programs.front() == "{portolan}" && !run_quietly(options_.portolan + " send --help")) {
    return "this portolan cannot send";
  }
  return {};
}

LinkEnds LinkPeers::ends(const LinkPeer& peer, const LinkConditions& conditions) const {
  return {{fill(peer.near, conditions)}, {fill(peer.far, conditions)}};
}

void LinkPeers::make_payload(double megabytes) {
  payload_bytes_ = std::max(1.0, megabytes * 1e6);
  std::ofstream file(directory_.path() + "/served/payload", std::ios::binary);
  std::mt19937_64 generator(1);
  std::array<std::uint64_t, 8192> block;
  auto left = static_cast<std::size_t>(payload_bytes_);
  for (std::size_t size; left > 0; left -= size) {
    std::ranges::generate(block, std::ref(generator));
    size = std::min(left, sizeof block);
    file.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(size));
  }
  if (!file.flush()) throw std::runtime_error("no room for a file in " + directory_.path());
}

void LinkPeers::clear_received() const {
  std::error_code ignored;
  fs::remove_all(into_, ignored);
  fs::create_directory(into_);
}

double LinkPeers::received_bytes() const {
  std::uintmax_t largest = 0;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(into_, error)) {
    if (entry.is_regular_file(error)) largest = std::max(largest, entry.file_size(error));
  }
  return std::min(payload_bytes_, static_cast<double>(largest));
}

bool LinkPeers::received_is_payload() const {
  std::ifstream sent(directory_.path() + "/served/payload", std::ios::binary);
  std::ifstream received(received_file(), std::ios::binary);
  std::vector<char> left(1 << 20), right(1 << 20);
  while (sent && received) {
    sent.read(left.data(), static_cast<std::streamsize>(left.size()));
    received.read(right.data(), static_cast<std::streamsize>(right.size()));
    if (sent.gcount() != received.gcount() || !std::equal(left.begin(), left.begin() + sent.gcount(), right.begin())) {
      return false;
    }
  }
  return sent.eof() && received.eof();
}

Result<LinkFigures> LinkPeers::run(const LinkEnds& ends, const LinkConditions& conditions) const {
  auto figures =
      run_link_program(options_.directory + "/portolan_link", conditions, ends, directory_.path() + "/errors.txt");
  // Otherwise the near end would wait for a far one that has crashed, and pass for slow.
  constexpr int kKilled = 128;
  if (figures && figures->far_exit > kKilled) {
    return Failure(fmt::format("the far end was killed by signal {}", figures->far_exit - kKilled));
  }
  if (figures && !figures->timed_out && figures->near_exit != 0) {
    return Failure(fmt::format("exited with {} (\"{}\")", figures->near_exit, figures->said));
  }
  return figures;
}

void LinkProgress::begin(const std::string& what) {
  std::string left;
  if (done_ > 0) {
    const double minutes = seconds_since(begin_) / done_ * (runs_ - done_) / 60;
    left = fmt::format(", about {:.0f} min left", std::max(1.0, minutes));
  }
  fmt::print(stderr, "{}: {} ({} of {}{})", bench_, what, ++done_, runs_, left);
}

void LinkProgress::end(const std::string& result) { fmt::print(stderr, ": {}\n", result); }

}  // namespace portolan::bench
