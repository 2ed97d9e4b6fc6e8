// UDP request and response, one at a time: respond ADDRESS PORT | ask ADDRESS PORT MILLISECONDS.
// `ask` prints {"count": N, "p50_us": .., "p99_us": ..}. IPv4 only.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  const bool respond = argc == 4 && std::string(argv[1]) == "respond";
  if (!respond && (argc != 5 || std::string(argv[1]) != "ask")) {
    std::fprintf(stderr, "usage: udp_rr respond ADDRESS PORT | ask ADDRESS PORT MILLISECONDS\n");
    return 2;
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[3])));
  if (inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) return 2;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  if (fd < 0 ||
      (respond ? bind(fd, where, sizeof(address)) : connect(fd, where, sizeof(address))) != 0) {
    std::perror("udp_rr");
    return 1;
  }
  char byte = 0;
  if (respond) {
    std::printf("ready\n");
    std::fflush(stdout);
    while (true) {
      sockaddr_in peer = {};
      socklen_t size = sizeof(peer);
      if (recvfrom(fd, &byte, 1, 0, reinterpret_cast<sockaddr*>(&peer), &size) == 1) {
        sendto(fd, &byte, 1, 0, reinterpret_cast<const sockaddr*>(&peer), size);
      }
    }
  }
  const timeval patience = {.tv_sec = 1,
                            .tv_usec = 0};  // a lost datagram costs that, and is not counted
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  std::vector<double> times;
  const auto end = Clock::now() + std::chrono::milliseconds(std::atol(argv[4]));
  while (Clock::now() < end) {
    const auto start = Clock::now();
    if (send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1) {
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    }
  }
  if (times.empty()) {
    std::fprintf(stderr, "udp_rr: no response\n");
    return 1;
  }
  std::sort(times.begin(), times.end());
  std::printf("{\"count\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", times.size(),
              times[times.size() / 2], times[times.size() * 99 / 100]);
  return 0;
}
