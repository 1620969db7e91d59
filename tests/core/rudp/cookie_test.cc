#include "rudp/cookie.h"

#include "octets.h"

#include "support/cmocka.h"

using namespace portolan;
using namespace portolan::rudp;
using namespace std::chrono_literals;

namespace {

constexpr Duration kNow = 1234567890123ns;  // no whole milliseconds

Address address(const char* text) { return *Address::parse(text); }

const Address kPeer = address("192.0.2.7:4242");
const Octets kInitiator = from_hex("0102030405060708");
const Octets kResponder = from_hex("1112131415161718");
const CookieMaker::Claim kClaim{kPeer, kInitiator, kResponder};

void a_cookie_comes_back_good(void**) {
  CookieMaker maker(kNow);
  const Cookie cookie = maker.make(kNow, kClaim);
  assert_true(maker.verify(kNow, kClaim, cookie) == CookieVerdict::good);
  assert_true(maker.verify(kNow, kClaim, cookie) == CookieVerdict::good);  // it proves an address, each time
  const Address v6 = address("[2001:db8::7]:4242");
  const CookieMaker::Claim claim6{v6, {}, kResponder};
  assert_true(maker.verify(kNow, claim6, maker.make(kNow, claim6)) == CookieVerdict::good);
}

void a_cookie_is_for_one_address_and_one_pair_of_ids(void**) {
  CookieMaker maker(kNow);
  const Cookie cookie = maker.make(kNow, kClaim);
  for (const char* other : {"192.0.2.7:4243", "192.0.2.8:4242", "[2001:db8::7]:4242"}) {
    const Address peer = address(other);
    assert_true(maker.verify(kNow, {peer, kInitiator, kResponder}, cookie) == CookieVerdict::wrong);
  }
  assert_true(maker.verify(kNow, {kPeer, kResponder, kInitiator}, cookie) == CookieVerdict::wrong);
  assert_true(maker.verify(kNow, {kPeer, kInitiator, {}}, cookie) == CookieVerdict::wrong);
  // The same bytes, divided otherwise.
  const Octets longer = from_hex("010203040506070811");
  const Octets shorter = from_hex("12131415161718");
  assert_true(maker.verify(kNow, {kPeer, longer, shorter}, cookie) == CookieVerdict::wrong);
  // Nor of another maker.
  CookieMaker stranger(kNow);
  assert_true(stranger.verify(kNow, kClaim, cookie) == CookieVerdict::wrong);
}

void no_bit_of_a_cookie_can_change(void**) {
  CookieMaker maker(kNow);
  const Cookie cookie = maker.make(kNow + 5s, kClaim);
  for (std::size_t bit = 0; bit < cookie.size() * 8; ++bit) {
    Cookie altered = cookie;
    altered[bit / 8] ^= std::byte{1} << (bit % 8);
    // The first byte names the secret, and no other is held.
    const CookieVerdict expected = bit < 8 ? CookieVerdict::expired : CookieVerdict::wrong;
    assert_true(maker.verify(kNow + 5s, kClaim, altered) == expected);
  }
  for (std::size_t size = 0; size < cookie.size(); ++size) {
    assert_true(maker.verify(kNow + 5s, kClaim, Bytes(cookie).first(size)) == CookieVerdict::malformed);
  }
  Octets longer(cookie.begin(), cookie.end());
  longer.push_back(std::byte{0});
  assert_true(maker.verify(kNow + 5s, kClaim, longer) == CookieVerdict::malformed);
}

void what_cannot_be_claimed_has_no_good_cookie(void**) {
  CookieMaker maker(kNow);
  const Address none;
  const CookieMaker::Claim nobody{none, kInitiator, kResponder};
  assert_true(maker.verify(kNow, nobody, maker.make(kNow, nobody)) == CookieVerdict::wrong);
  const Octets long_id(256);
  const CookieMaker::Claim too_long{kPeer, long_id, kResponder};
  assert_true(maker.verify(kNow, too_long, maker.make(kNow, too_long)) == CookieVerdict::wrong);
}

void a_cookie_lives_for_its_time_whatever_happens_to_its_secret(void**) {
  // Issued at any time of a secret's life, also just before it is replaced.
  for (const Duration issued : {0ns, Duration(30s), Duration(299s), Duration(299999ms)}) {
    CookieMaker maker(kNow, {.lifetime = 30s, .rotate_every = 300s});
    const Cookie cookie = maker.make(kNow + issued, kClaim);
    assert_true(maker.verify(kNow + issued + 29s, kClaim, cookie) == CookieVerdict::good);
    assert_true(maker.verify(kNow + issued + 30s + 1ms, kClaim, cookie) == CookieVerdict::expired);
    assert_true(maker.verify(kNow + issued + 601s, kClaim, cookie) == CookieVerdict::expired);
  }
}

void secrets_are_replaced_in_time(void**) {
  CookieMaker maker(kNow, {.lifetime = 30s, .rotate_every = 60s});
  const Cookie first = maker.make(kNow, kClaim);
  Duration now = kNow;
  for (int round = 1; round <= 600; ++round) {  // past the 256 generations that have a name
    now += 60s;
    const Cookie cookie = maker.make(now, kClaim);
    assert_true(maker.verify(now, kClaim, cookie) == CookieVerdict::good);
    assert_false(maker.verify(now, kClaim, first) == CookieVerdict::good);
    assert_int_equal(static_cast<int>(cookie[0]), round % 256);
  }
  // A secret that was not needed for long is not kept for what comes then.
  const Cookie last = maker.make(now, kClaim);
  assert_true(maker.verify(now + 3600s, kClaim, last) == CookieVerdict::expired);
  assert_true(maker.verify(now + 3600s, kClaim, maker.make(now + 3600s, kClaim)) == CookieVerdict::good);
}

void a_secret_is_kept_for_a_lifetime_at_least(void**) {
  CookieMaker maker(kNow, {.lifetime = 30s, .rotate_every = 1s});
  const Cookie cookie = maker.make(kNow, kClaim);
  assert_true(maker.verify(kNow + 29s, kClaim, cookie) == CookieVerdict::good);
}

}  // namespace

int main() {
  const CMUnitTest tests[] = {
      cmocka_unit_test(a_cookie_comes_back_good),
      cmocka_unit_test(a_cookie_is_for_one_address_and_one_pair_of_ids),
      cmocka_unit_test(no_bit_of_a_cookie_can_change),
      cmocka_unit_test(what_cannot_be_claimed_has_no_good_cookie),
      cmocka_unit_test(a_cookie_lives_for_its_time_whatever_happens_to_its_secret),
      cmocka_unit_test(secrets_are_replaced_in_time),
      cmocka_unit_test(a_secret_is_kept_for_a_lifetime_at_least),
  };
  return cmocka_run_group_tests_name("core.rudp.cookie", tests, nullptr, nullptr);
}
