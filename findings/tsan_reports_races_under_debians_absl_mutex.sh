#!/bin/bash
# ThreadSanitizer reports a data race in a program whose only shared variable is guarded by absl::Mutex, if Abseil itself was
# compiled without the sanitizer, as Debian's static libraries are: the sanitizer does not see the lock. The same program
# with std::mutex, whose pthread calls are intercepted, is clean.
# Seen with libabsl-dev 20220623.1 and g++ 12.2 (Debian 12): the first program ends with exit code 66, the second with 0.
# Needs g++ with libtsan. Fails if the behaviour has changed.
set -euo pipefail
version=20220623.1-1+deb12u2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
(cd "$folder" && apt-get download -q "libabsl-dev=$version" >/dev/null && dpkg -x libabsl-dev_*.deb root)
archives=$(dirname "$(find "$folder/root" -name 'libabsl_synchronization.a' | head -n 1)")

cat >"$folder/count.cc" <<'SOURCE'
#include <thread>
#ifdef WITH_ABSL
#include "absl/synchronization/mutex.h"
using Mutex = absl::Mutex;
struct Guard {
  absl::MutexLock lock;
  explicit Guard(Mutex* mutex) : lock(mutex) {}
};
#else
#include <mutex>
using Mutex = std::mutex;
struct Guard {
  std::lock_guard<std::mutex> lock;
  explicit Guard(Mutex* mutex) : lock(*mutex) {}
};
#endif
int main() {
  Mutex mutex;
  int count = 0;
  const auto add = [&] {
    for (int i = 0; i < 100000; ++i) {
      const Guard guard(&mutex);
      ++count;
    }
  };
  std::thread other(add);
  add();
  other.join();
  return count == 200000 ? 0 : 1;
}
SOURCE

run() {  # NAME OPTION...: exit code of the program
  local name=$1 code=0
  shift
  g++ -std=c++17 -O1 -g -fsanitize=thread -isystem "$folder/root/usr/include" "$folder/count.cc" -o "$folder/$name" "$@"
  TSAN_OPTIONS="exitcode=66 log_path=$folder/$name.log" "$folder/$name" || code=$?
  echo "$code"
}

absl=$(run absl -DWITH_ABSL -Wl,--start-group "$archives"/libabsl_*.a -Wl,--end-group)
std=$(run std)
echo "libabsl-dev $version, g++ $(g++ -dumpfullversion): exit code $absl with absl::Mutex, $std with std::mutex"
grep -h 'WARNING' "$folder"/absl.log.* | sort | uniq -c
[ "$absl" = 66 ] && [ "$std" = 0 ]
