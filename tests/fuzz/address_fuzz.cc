// Addresses, endpoints and networks: what is parsed and written is parsed to the same. Input: the text.
#include "fuzz_target.h"
#include "net/address.h"
#include "net/network.h"

using namespace portolan;
using fuzz::check;

namespace {

void check_address(const Address& address) {
  const auto again = Address::parse(address.to_string());
  check(again.has_value(), "an address that was written is read");
  check(*again == address, "an address is read as it was written");
  check(again->hash() == address.hash(), "equal addresses have equal hashes");
  sockaddr_storage storage{};
  check(address.to_sockaddr(storage) > 0, "an address has a sockaddr");
  check(Address::from(reinterpret_cast<const sockaddr*>(&storage)) == address, "an address survives its sockaddr");
  check(address.client().client() == address.client(), "the client of a client is itself");
  check(address.client().port() == 0, "a client has no port");
  check(!to_string(address.scope()).empty(), "every scope has a name");
  check(!address.host().empty(), "an address has a host");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto address = Address::parse(text)) {
    check_address(*address);
  } else {
    check(!address.error().empty(), "a refusal says why");
  }
  if (const auto endpoint = Endpoint::parse(text)) {
    const auto again = Endpoint::parse(endpoint->to_string());
    check(again.has_value(), "an endpoint that was written is read");
    check(*again == *endpoint, "an endpoint is read as it was written");
    if (endpoint->transport != Transport::unix_stream) check_address(endpoint->address);
    check((endpoint->transport == Transport::unix_stream) == !endpoint->path.empty(), "a unix endpoint has a path");
  } else {
    check(!endpoint.error().empty(), "a refusal says why");
  }
  if (const auto network = Network::parse(text)) {
    const auto again = Network::parse(network->to_string());
    check(again.has_value(), "a network that was written is read");
    check(*again == *network, "a network is read as it was written");
    const auto base = Address::parse(text.substr(0, text.find('/')));
    check(base.has_value() && network->contains(*base), "a network contains its own address");
    check(!network->contains(Address()), "no network contains a peer without an address");
  } else {
    const std::string_view quoted = text.substr(0, text.find('\0'));
    check(network.error().starts_with('"' + std::string(quoted) + "\": "), "a refusal quotes what it refuses");
  }
  return 0;
}
