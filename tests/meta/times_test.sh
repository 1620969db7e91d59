#!/usr/bin/env bash
# Times and file sizes are 64 bits. Where the system's time_t has 32 (armhf and armel of Debian 12), the C library's time
# functions, stat, and OpenSSL's and libstdc++'s clocks fail from 2038-01-19 on: nothing of ours calls them but
# core/base/clock.cc and core/base/file_status.cc, which are compiled with a time_t of 64 bits. On such a target those two
# must call the 64-bit forms, and files must be opened by the forms that know over 2 GiB.
# Usage: times_test.sh libportolan_core.a ROOT [NM]. Says everything that is wrong, not the first only.
set -euo pipefail
archive=$1
root=$2
nm=${3:-nm}

wrong=0
complain() {
  printf '%s\n' "$*"
  wrong=1
}

# The clock, the calendar, times of files, and what takes or gives a time_t in libraries.
forbidden='time|gettimeofday|settimeofday|clock_gettime|clock_settime|ftime|timespec_get|gmtime|localtime|mktime|timegm'
forbidden+='|timelocal|strftime|ctime|asctime|difftime|utime|utimes|futimes|lutimes|futimens|utimensat|[fl]?stat|fstatat'
forbidden+='|[fl]?xstat|pthread_cond_timedwait|pthread_mutex_timedlock|sem_timedwait|timerfd_settime|X509_gmtime_adj'
forbidden+='|X509_time_adj|X509_time_adj_ex|X509_cmp_time|X509_cmp_current_time|X509_cmp_timeframe|ASN1_(UTC|GENERALIZED)?TIME_(set|adj)'
forbidden+='|ASN1_TIME_(cmp_time_t|diff)|X509_VERIFY_PARAM_(set|get)_time|X509_STORE_CTX_set_time|SSL_SESSION_(set|get)_time'
forbidden+='|_ZNSt6chrono3_V212system_clock3nowEv|_ZNSt10filesystem(15last_write_time|9file_size).*'
# As glibc also names them: re-entrant, 64-bit, fortified.
forbidden="(__)?($forbidden)(_r)?(64|_time64|64_time64|64_r)?(_chk)?"

# "object function" for each that is left undefined.
calls=$("$nm" --undefined-only --print-file-name "$archive" |
  sed -nE 's/^.*[:[]([^]: ]+\.o)\]?:? +[Uwv] ([^@ ]+).*$/\1 \2/p' | sort -u)

# A test that reads nothing finds nothing: what is certainly called has to be seen.
objects=$(cut -d' ' -f1 <<<"$calls" | sort -u | wc -l)
((objects > 40)) || complain "$archive: only $objects objects call anything: this test does not understand what $nm prints"
grep -qE '^clock\.cc\.o .*clock_gettime' <<<"$calls" || complain "clock.cc.o does not ask for the time: who does?"
grep -qE '^file_status\.cc\.o .*stat' <<<"$calls" || complain "file_status.cc.o does not look at files: who does?"

# Ours on a target whose own time_t and file sizes have 32 bits: these names are what such a target has, and no other.
narrow=0
grep -qE ' (__clock_gettime64|open64)$' <<<"$calls" && narrow=1

while read -r object function; do
  case $object in
    clock.cc.o | file_status.cc.o)
      if ((narrow)) && [[ $function =~ ^(clock_gettime|localtime_r|timerfd_settime|f?stat|f?stat64)$ ]]; then
        complain "$object calls $function, which ends in 2038: compile it with _TIME_BITS=64"
      fi
      continue
      ;;
  esac
  if [[ $function =~ ^$forbidden$ ]]; then
    complain "$object calls $function: where time_t has 32 bits it fails from 2038 on. core/base/clock.h tells the time," \
      "core/base/file_status.h looks at files, core/net/certificate_time.h at certificates"
  fi
  if ((narrow)) && [[ $function =~ ^(open|openat|creat|fopen|lseek|ftruncate|truncate|pread|pwrite|mmap|readdir)$ ]]; then
    complain "$object calls $function, which ends at 2 GiB: compile it with _FILE_OFFSET_BITS=64"
  fi
done <<<"$calls"

# What no symbol shows: a variable of the system's type, SQL that asks the clock by itself. (A timeval is how long
# libevent and c-ares shall wait; their types are the system's.)
cd "$root"
allowed='^(core/base/(clock|file_status)\.cc|core/event/loop\.cc|core/net/dns_channel\.cc|core/store/sqlite\.cc):'
if grep -nE '\b(time_t|timeval|timespec|suseconds_t)\b' -r core plugins --include='*.cc' --include='*.h' |
  grep -vE '^[^:]*:[0-9]+: *//' | grep -vE "$allowed"; then
  complain "a time in the system's type: keep it as std::int64_t or Duration"
fi
if grep -niE "(julianday|unixepoch|strftime|datetime|date|time) *\( *'now'|current_(timestamp|date|time)\b" \
  -r core plugins --include='*.cc' --include='*.h'; then
  complain "SQL that asks SQLite for the time, which asks the system's time_t: pass unix_ms() as a parameter"
fi
if grep -nE '\b(unsigned )?long +[a-z_]*(time|size|bytes|offset|_ms|seconds|count)[a-z_]*\b' -r core plugins \
  --include='*.cc' --include='*.h'; then
  complain "a long has 32 bits on armhf and armel: times, sizes and counters have 64"
fi

((wrong == 0)) && echo "$objects objects: none has a time or a file size of 32 bits"
exit "$wrong"
