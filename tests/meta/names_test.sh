#!/usr/bin/env bash
# Nothing of ours calls what the C library answers by modules of the machine (nsswitch.conf, gconv, services): a static
# binary would load them from wherever it happens to run, and crash or fail there. Names resolve through core/net/resolver.
# Usage: names_test.sh libportolan_core.a [NM]. Says everything that is wrong, not the first only.
set -euo pipefail
archive=$1
nm=${2:-nm}

# Hosts, services, protocols, networks; users and groups; character sets; modules by name. glibc's names, with the
# re-entrant (_r) and fortified (__) forms of each.
forbidden='getaddrinfo|getaddrinfo_a|getnameinfo|gethost(ent|byname|byname2|byaddr)|getserv(ent|byname|byport)'
forbidden+='|getproto(ent|byname|bynumber)|getnet(ent|byname|byaddr)|getnetgrent|innetgr|ether_(hostton|ntohost)'
forbidden+='|getpw(ent|nam|uid)|getgr(ent|nam|gid)|getgrouplist|initgroups|getsp(ent|nam)|iconv_open|dlm?open|dlsym'

# What may be called nevertheless: object, function, why.
allowed() {
  cat <<'END'
registry.cc.o dlopen  loads plugins, in the shapes that can; a static build is compiled without it
registry.cc.o dlsym   the same
END
}

wrong=0
complain() {
  printf '%s\n' "$*"
  wrong=1
}

# "object function" for each that is left undefined.
calls=$("$nm" --undefined-only --print-file-name "$archive" |
  sed -nE 's/^.*[:[]([^]: ]+\.o)\]?:? +[Uwv] ([^@ ]+).*$/\1 \2/p' | sort -u)

# A test that reads nothing finds nothing: what is certainly called has to be seen.
objects=$(cut -d' ' -f1 <<<"$calls" | sort -u | wc -l)
((objects > 40)) || complain "$archive: only $objects objects call anything: this test does not understand what $nm prints"
grep -qx 'dns_channel.cc.o ares_getaddrinfo' <<<"$calls" ||
  complain "$archive: dns_channel.cc.o does not call ares_getaddrinfo: by whom are names resolved?"

while read -r object function; do
  [[ $function =~ ^(__|_IO_)?($forbidden)(_r|_chk)?$ ]] || continue
  allowed | grep -qE "^$object +$function( |$)" && continue
  complain "$object calls $function: in a static build it loads modules of the machine that it runs on." \
    "Names resolve through core/net/resolver.h, addresses parse by Address::parse, users by core/app/privileges.cc"
done <<<"$calls"

((wrong == 0)) && echo "$objects objects: none asks the C library for a name"
exit "$wrong"
