// Giving up what was needed to bind: root, and the capabilities beside CAP_NET_BIND_SERVICE.
//
// Main thread, before any other thread is made: capabilities belong to a thread and are inherited by those it makes.
// Users and groups are looked up in /etc/passwd and /etc/group only (a static binary has no NSS), or are numbers.
#pragma once

#include <string>

namespace portolan {

// Becomes `user` and `group` (empty: the user's own group; both empty: stays who it is), keeps at most
// CAP_NET_BIND_SERVICE (so that a reload can bind port 80) and sets no_new_privs. Root without a user stays root.
// The answer is an error with the way out, or empty.
std::string drop_privileges(const std::string& user, const std::string& group);

// Hands a file (the admin socket) to the user that we are about to become. Nothing to do without a user.
std::string give_to_user(const std::string& path, const std::string& user, const std::string& group);

}  // namespace portolan
