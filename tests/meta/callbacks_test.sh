#!/usr/bin/env bash
# Every function of ours that a C library gets goes through c_callback (core/base/callback.h), which takes only those that
# cannot throw: an exception in the middle of C is undefined. A function that is noexcept is seen by the compiler; that
# it goes through there is seen here. Lua is no C library: it is linked as C++ and its errors are exceptions.
# Usage: callbacks_test.sh ROOT. Says everything that is wrong, not the first only.
set -euo pipefail
cd "$1"

# What registers a function, in the libraries that we use.
registers='event_(new|assign|once|base_once|set)|evtimer_new|evsignal_new|bufferevent_setcb|bufferevent_filter_new'
registers+='|evhttp_set_(gen|bev|newreq)?cb|evhttp_(request_new|request_set_\w+_cb|connection_set_closecb|connection_set_ext_method_cmp)'
registers+='|evconnlistener_(new|new_bind|set_cb|set_error_cb)|evbuffer_(add_cb|add_reference)|event_set_(log|fatal)_callback|event_set_mem_functions'
registers+='|sqlite3_(create_function\w*|create_window_function|create_collation\w*|set_authorizer|progress_handler|busy_handler|commit_hook'
registers+='|rollback_hook|update_hook|wal_hook|trace_v2|unlock_notify|auto_extension|preupdate_hook|exec)'
registers+='|SSL_(CTX_)?set_(verify|info_callback|msg_callback|alpn_select_cb|cert_cb|client_hello_cb|tlsext_servername_callback|psk_\w+_callback|default_passwd_cb|keylog_callback)'
registers+='|SSL_CTX_(sess_set_\w+_cb|set_tlsext_\w+_cb|set_cookie_\w+_cb|set_cert_verify_callback)|BIO_meth_set_\w+|BIO_set_callback\w*|X509_STORE_(CTX_)?set_verify_cb'
registers+='|CRYPTO_set_mem_functions|OPENSSL_atexit|ERR_print_errors_cb'
registers+='|ares_(getaddrinfo|gethostby(name|addr)|getnameinfo|query\w*|search\w*|send\w*|set_socket_\w*callback|set_server_state_callback|library_init_mem)'
registers+='|lua_newstate|atexit|at_quick_exit|pthread_(create|atfork|once|key_create|cleanup_push)|qsort|bsearch|signal|sigaction|dl_iterate_phdr|nftw|scandir|glob'
export registers

# FILE FUNCTION REASON: without it, because …
allowed() {
  cat <<'END'
core/net/dns_channel.cc ares_getaddrinfo  Question::answered is declared noexcept
core/event/io_event.cc event_assign       the second takes from libevent what the first, in bind, has given it
END
}

wrong=0
seen=0
while IFS=$'\t' read -r file line function arguments; do
  seen=$((seen + 1))
  # Without a function at all: SIG_IGN, or only null pointers.
  [[ $function == signal && $arguments == *SIG_IGN* ]] && continue
  [[ $function == sqlite3_exec && $arguments == *", nullptr, nullptr, nullptr" ]] && continue
  [[ $function == evhttp_connection_set_closecb && $arguments == *", nullptr, nullptr" ]] && continue
  [[ $function == SSL_*verify && $arguments == *", nullptr" ]] && continue
  [[ $arguments == *c_callback\(* ]] && continue
  allowed | grep -qE "^$file +$function( |$)" && continue
  echo "$file:$line: $function is given a function that may throw: wrap it in c_callback() (core/base/callback.h)"
  wrong=1
done < <(find core plugins -name '*.cc' -o -name '*.h' | sort | xargs perl -0777 -ne '
  s{//[^\n]*}{}g;
  while (/(?<![\w.>])(?<name>$ENV{registers})\s*(?<list>\((?:[^()]|(?&list))*\))/g) {
    my ($function, $arguments, $before) = ($+{name}, $+{list}, substr($_, 0, $-[0]));
    $arguments =~ s/\s+/ /g;
    printf "%s\t%d\t%s\t%s\n", $ARGV, 1 + ($before =~ tr/\n//), $function, substr($arguments, 1, -1);
  }')

# A test that reads nothing finds nothing.
((seen >= 12)) || { echo "only $seen registrations below $PWD: this test does not find what it looks for"; wrong=1; }
# sock_state_cb and its like are members: functions that are assigned.
if grep -nE '\b\w+_cb(_data)? = (\[|&|[a-z])' -r core plugins --include='*.cc' | grep -vE 'noexcept|_cb_data = '; then
  echo "a callback that is assigned, and not noexcept"
  wrong=1
fi

((wrong == 0)) && echo "$seen functions given to C libraries: none can throw"
exit "$wrong"
