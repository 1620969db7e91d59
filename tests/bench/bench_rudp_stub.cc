#include "benches.h"
namespace portolan::bench {
std::vector<Table> bench_rudp_share(const Options&){return {};}
std::vector<Table> bench_rudp_messages(const Options&){return {};}
std::vector<Table> bench_rudp_loopback(const Options&){return {};}
}
